/**
 * Tools change a directory in which programs create and unlink, 100,000 times in all. A notification written by the
 * thread that answers requests would hang here: the kernel holds the directory's lock while it waits for an answer.
 */
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { call, connectAgent } from '../integration/agent.ts';
import { TestDaemon } from '../integration/daemon.ts';

const CLIENTS = 4;
const CHANGES = 100_000;
/** Of them, made by tools. */
const BY_TOOLS = 10_000;

const CLIENT = `
const fs = require('fs');
const [me, count] = [process.argv[1], Number(process.argv[2])];
for (let i = 0; i < count / 2; i++) {
  const name = 'shared/c' + me + '.' + (i % 50);
  fs.closeSync(fs.openSync(name, 'wx'));
  if (i % 10 === 0) fs.readdirSync('shared');
  fs.unlinkSync(name);
}`;

test('tools and four programs change one directory 100,000 times without a hang', async () => {
  await using daemon = await TestDaemon.start();
  const agent = await connectAgent(daemon.mcpSocket);
  await call(agent, 'vfs_mkdir', { path: '/ipfs/shared' });
  const each = String((CHANGES - BY_TOOLS) / CLIENTS);
  const clients = Array.from({ length: CLIENTS }, (_, i) =>
    daemon.spawn(process.execPath, ['-e', CLIENT, String(i), each], { in: 'ipfs' }),
  );
  const ends = clients.map((client) => once(client, 'close'));
  for (let i = 0; i < BY_TOOLS / 2; i++) {
    const path = `/ipfs/shared/t${i % 50}`;
    await call(agent, 'vfs_write', { path, content: String(i) });
    await call(agent, 'vfs_rm', { path });
  }
  const codes = (await Promise.all(ends)).map(([code]) => code as number);
  expect(codes).toEqual(Array.from({ length: CLIENTS }, () => 0));
  const { entries } = await call(agent, 'vfs_ls', { path: '/ipfs/shared' });
  expect(entries).toEqual([]);
  await agent.close();
});
