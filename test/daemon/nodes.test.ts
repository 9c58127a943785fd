import { expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { OpError } from '../../src/base/errors.ts';
import { referenceText, Secret, type SecretReference } from '../../src/base/secrets.ts';
import { openNodes } from '../../src/daemon/nodes.ts';
import { parseSettings } from '../../src/daemon/settings.ts';
import { calling } from '../backend/engine.ts';
import { Server } from '../backend/server.ts';
import { CountingRandom } from '../fakes/random.ts';

const noSecret = (reference: SecretReference): Secret => {
  throw new OpError('configuration', `read the secret ${referenceText(reference)}`);
};

/** The nodes of a configuration file. */
const opened = (text: string, readSecret = noSecret) => {
  const kept: AsyncDisposable[] = [];
  const keep = (node: AsyncDisposable) => void kept.push(node);
  const parts = { clock: new SystemClock(), random: new CountingRandom(), readSecret, keep };
  const close = async () => {
    for (const node of kept) await node[Symbol.asyncDispose]();
  };
  return { ...openNodes(parseSettings(text, '/c').ipfs, parts), close };
};

test('our own node is home unless a Kubo is named, which then is it', () => {
  expect(opened('')).toMatchObject({ home: 'embedded', kubo: undefined });
  const api = '[ipfs.kubo]\napi = "http://127.0.0.1:5001"\n';
  expect(opened(api)).toMatchObject({ home: 'kubo', kubo: { endpoint: 'http://127.0.0.1:5001' } });
  expect(opened(`[ipfs]\nhome = "embedded"\n${api}`).home).toBe('embedded');
});

test('nothing is asked of a node before it is needed, and nothing after the stop', async () => {
  await using server = await Server.start();
  server.on('id', ({ response }) => void response.end('{"ID":"x"}'));
  const { kubo, close } = opened(`[ipfs.kubo]\napi = "${server.api}"`);
  expect(server.calls).toEqual([]);
  expect(await kubo?.stats.id(undefined, calling())).toMatchObject({ peerId: 'x' });
  await close();
  await expect(kubo?.stats.id(undefined, calling())).rejects.toMatchObject({
    failure: 'not-ready',
  });
});

test('a secret is read when it is needed, and again after it was refused', async () => {
  await using server = await Server.start();
  server.on('version', ({ request, response }) => {
    const isRight = request.headers.authorization === 'Bearer token-2';
    if (isRight) response.end('{"Version":"0.43.1"}');
    else response.writeHead(403).end('Access Denied');
  });
  let reads = 0;
  const text = `[ipfs.kubo]\napi = "${server.api}"\nauth = "file:/secret"`;
  const { kubo, close } = opened(text, (reference) => {
    reads += 1;
    return new Secret(`bearer:token-${reads}`, reference);
  });
  expect(reads).toBe(0);
  expect(await kubo?.stats.version(calling())).toMatchObject({ version: '0.43.1' });
  await close();
});

test('a secret that is not there is told by the call that needs it', async () => {
  const text = '[ipfs.kubo]\napi = "http://127.0.0.1:9"\nauth = "env:NONE"';
  const { kubo, close } = opened(text);
  await expect(kubo?.stats.version(calling())).rejects.toMatchObject({
    failure: 'configuration',
    op: 'read the secret env:NONE',
  });
  await close();
});
