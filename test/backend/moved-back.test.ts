/** A node that is killed forgets changes of its MFS: what was removed is there again when a move is asked for anew. */
import type { CID } from 'multiformats/cid';
import { expect, test } from 'vitest';
import { calling, engineAt, rawBlock } from './engine.ts';
import { refusing, Server } from './server.ts';

test('a move whose answer was lost is not made into what came back meanwhile', async () => {
  const [old, next] = ['old', 'next'].map((words) => rawBlock(words).cid);
  if (old === undefined || next === undefined) throw new Error('there are two');
  const tree = new Map<string, CID>([['/kitfs/t', old]]);
  await using server = await Server.start();
  server.on('files/stat', (call) => {
    const cid = tree.get(call.query.get('arg') ?? '');
    if (cid === undefined) return refusing(500, 'file does not exist')(call);
    const facts = { Hash: cid.toString(), Size: 0, CumulativeSize: 9, Blocks: 1 };
    call.response.end(JSON.stringify({ ...facts, Type: 'directory' }));
  });
  server.on('files/cp', ({ query, response }) => {
    tree.set(query.getAll('arg')[1] ?? '', next);
    response.end();
  });
  server.on('files/rm', ({ query, response }) => {
    tree.delete(query.get('arg') ?? '');
    response.end();
  });
  server.on('files/mv', ({ request }) => {
    // It was killed here, and is there again without its last change.
    tree.set('/kitfs/t', old);
    request.socket.destroy();
  });
  const { mfs } = engineAt(server.api);
  await expect(mfs.place('/kitfs/t', next, calling())).rejects.toMatchObject({
    failure: 'not-running',
  });
  expect(server.count('files/mv')).toBe(1);
  server.on('files/mv', ({ query, response }) => {
    const [from = '', to = ''] = query.getAll('arg');
    expect(tree.has(to)).toBe(false);
    tree.set(to, tree.get(from) ?? old);
    tree.delete(from);
    response.end();
  });
  await mfs.place('/kitfs/t', next, calling());
  expect([...tree]).toEqual([['/kitfs/t', next]]);
});
