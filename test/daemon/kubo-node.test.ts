import { expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { OpError } from '../../src/base/errors.ts';
import { referenceText, Secret, type SecretReference } from '../../src/base/secrets.ts';
import { kuboOf } from '../../src/daemon/kubo-node.ts';
import { parseSettings } from '../../src/daemon/settings.ts';
import { calling } from '../backend/engine.ts';
import { Server } from '../backend/server.ts';
import { CountingRandom } from '../fakes/random.ts';

const opened = (text: string, readSecret: (reference: SecretReference) => Secret) =>
  kuboOf(parseSettings(text, '/c'), {
    clock: new SystemClock(),
    random: new CountingRandom(),
    readSecret,
  });

const noSecret = (reference: SecretReference): Secret => {
  throw new OpError('configuration', `read the secret ${referenceText(reference)}`);
};

test('there is a node where the settings name one, and none without', async () => {
  expect(opened('', noSecret)).toBeUndefined();
  await using server = await Server.start();
  server.on('id', ({ response }) => void response.end('{"ID":"x"}'));
  await using node = opened(`[ipfs.kubo]\napi = "${server.api}"`, noSecret);
  expect(await node?.stats.id(undefined, calling())).toMatchObject({ peerId: 'x' });
});

test('its secret is read when it is needed, and again after it was refused', async () => {
  await using server = await Server.start();
  server.on('version', ({ request, response }) => {
    const isRight = request.headers.authorization === 'Bearer token-2';
    if (isRight) response.end('{"Version":"0.43.1"}');
    else response.writeHead(403).end('Access Denied');
  });
  let reads = 0;
  const text = `[ipfs.kubo]\napi = "${server.api}"\nauth = "file:/secret"`;
  await using node = opened(text, (reference) => {
    reads += 1;
    return new Secret(`bearer:token-${reads}`, reference);
  });
  expect(reads).toBe(0);
  expect(await node?.stats.version(calling())).toMatchObject({ version: '0.43.1' });
});

test('a secret that is not there is told by the call that needs it', async () => {
  const text = '[ipfs.kubo]\napi = "http://127.0.0.1:9"\nauth = "env:NONE"';
  await using node = opened(text, noSecret);
  await expect(node?.stats.version(calling())).rejects.toMatchObject({
    failure: 'configuration',
    op: 'read the secret env:NONE',
  });
});
