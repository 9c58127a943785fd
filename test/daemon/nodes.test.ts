import { expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { OpError } from '../../src/base/errors.ts';
import { referenceText, Secret, type SecretReference } from '../../src/base/secrets.ts';
import { openNodes } from '../../src/daemon/nodes.ts';
import { parseSettings } from '../../src/daemon/settings.ts';
import { Teardown } from '../../src/daemon/teardown.ts';
import { calling } from '../backend/engine.ts';
import { Server } from '../backend/server.ts';
import { RememberedLog } from '../fakes/log.ts';
import { CountingRandom } from '../fakes/random.ts';

const noSecret = (reference: SecretReference): Secret => {
  throw new OpError('configuration', `read the secret ${referenceText(reference)}`);
};

/** The nodes of a configuration file. */
const opened = async (text: string, readSecret = noSecret) => {
  const teardown = new Teardown(new RememberedLog());
  const parts = { clock: new SystemClock(), random: new CountingRandom(), readSecret, teardown };
  return { ...(await openNodes(parseSettings(text, '/c').ipfs, parts)), teardown };
};

test('our own node is home unless a Kubo is named, which then is it', async () => {
  expect(await opened('')).toMatchObject({ home: 'embedded', kubo: undefined });
  const api = '[ipfs.kubo]\napi = "http://127.0.0.1:5001"\n';
  expect(await opened(api)).toMatchObject({
    home: 'kubo',
    kubo: { endpoint: 'http://127.0.0.1:5001' },
  });
  expect((await opened(`[ipfs]\nhome = "embedded"\n${api}`)).home).toBe('embedded');
});

test('nothing is asked of a node before it is needed, and nothing after the stop', async () => {
  await using server = await Server.start();
  server.on('id', ({ response }) => void response.end('{"ID":"x"}'));
  const { kubo, teardown } = await opened(`[ipfs.kubo]\napi = "${server.api}"`);
  expect(server.calls).toEqual([]);
  expect(await kubo?.stats.id(undefined, calling())).toMatchObject({ peerId: 'x' });
  expect(await teardown.run()).toEqual([]);
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
  const { kubo, teardown } = await opened(text, (reference) => {
    reads += 1;
    return new Secret(`bearer:token-${reads}`, reference);
  });
  expect(reads).toBe(0);
  expect(await kubo?.stats.version(calling())).toMatchObject({ version: '0.43.1' });
  expect(await teardown.run()).toEqual([]);
});

test('a secret that is not there is told by the call that needs it', async () => {
  const text = '[ipfs.kubo]\napi = "http://127.0.0.1:9"\nauth = "env:NONE"';
  const { kubo, teardown } = await opened(text);
  await expect(kubo?.stats.version(calling())).rejects.toMatchObject({
    failure: 'configuration',
    op: 'read the secret env:NONE',
  });
  expect(await teardown.run()).toEqual([]);
});
