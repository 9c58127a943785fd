import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { IpfsNode } from '../../src/backend/backend.ts';
import { calling, engineAt } from './engine.ts';
import { cutting, failingLate, refusing, Server } from './server.ts';

let server: Server;
let node: IpfsNode;

beforeAll(async () => {
  server = await Server.start();
  node = engineAt(server.api);
});

afterAll(async () => {
  await node[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const ask = () => node.stats.id(undefined, calling());

describe('what Kubo says in a refusal', () => {
  test.each([
    ['this command must be run in online mode. Try running', 'node-offline'],
    ["can't publish while offline: pass --allow-offline to override", 'node-offline'],
    ["can't put while offline: pass --allow-offline", 'node-offline'],
    ['unable to run offline: x', 'node-offline'],
    ["'ipfs id' cannot query information on remote peers without a daemon", 'node-offline'],
    ['experimental pubsub feature not enabled, run daemon with', 'pubsub-disabled'],
    ['routing service is not a DHT', 'routing-unavailable'],
    ['failed to find any peer in table', 'routing-unavailable'],
    ['not pinned or pinned indirectly', 'not-pinned'],
    ["path 'bafy' is not pinned", 'not-pinned'],
    ['bafy is pinned recursively', 'not-pinned'],
    ["'from' cid was not recursively pinned already", 'not-pinned'],
    ['no key by the given name was found', 'not-found'],
    ['routing: not found', 'not-found'],
    ['failed to dial 12D3: no good addresses', 'not-found'],
    ['no link named "nope" under bafy', 'not-found'],
    ['file does not exist', 'not-found'],
    ['cp: cannot put node in path /b: directory already has entry by that name', 'exists'],
    ['file already exists', 'exists'],
    ["cannot create directory '/': Already exists", 'exists'],
    ["key with name 'k' already exists", 'exists'],
    ['could not resolve name', 'name-not-resolved'],
    ['DNSLink lookup for "bad." failed: no such host', 'name-not-resolved'],
    ['block was not found locally (offline): ipld: could not find bafy', 'content-missing'],
    ['ipld: could not find bafy', 'content-missing'],
    ['failed to fetch all nodes', 'content-missing'],
    ['walk failed: error traversing node at "x": could not load link "y"', 'content-missing'],
    ['not unixfs node (proto or raw)', 'unsupported'],
    ['mismatch in content integrity, expected: a, got: b', 'integrity'],
    ['write /repo/blocks/x: no space left on device', 'no-space'],
    ['produced block is over 2MiB: big blocks', 'payload-too-large'],
    ['not a directory', 'not-directory'],
    ['cannot access d/e: Not a directory', 'not-directory'],
    ['can only update directories', 'not-directory'],
    ['/p was not a file', 'is-directory'],
    ['/p: path is a directory, use -r to remove directories', 'is-directory'],
    ['this dag node is a directory', 'is-directory'],
    ['offset was past end of file (99 > 3)', 'offset-past-end'],
    ['/: cannot delete root', 'invalid-argument'],
    ['cannot change CID format of the MFS root; use', 'invalid-argument'],
    ['invalid path "bad": path does not have enough components', 'invalid-argument'],
    ['invalid peer ID', 'invalid-argument'],
    ['failed to parse peer ID: x', 'invalid-argument'],
    ['finding your own node in the DHT is currently not supported', 'invalid-argument'],
    ["removed, use 'ipfs routing' instead", 'version-unsupported'],
    ['invalid cid: selected encoding not supported', 'invalid-cid'],
    ['pin: context deadline exceeded', 'timeout'],
    ['request timed out', 'timeout'],
    ['something that nobody has heard of', 'api-error'],
  ])('means one thing: %s → %s', async (words, failure) => {
    server.on('id', refusing(500, words));
    await expect(ask()).rejects.toMatchObject({ failure, cause: { message: words } });
    server.on('id', failingLate('{"ID":"x"}', words));
    const late = failure === 'api-error' ? 'response-invalid' : failure;
    await expect(ask()).rejects.toMatchObject({ failure: late, cause: { message: words } });
    server.on('id', ({ response }) => {
      response.end(JSON.stringify({ Message: words, Code: 0, Type: 'error' }));
    });
    await expect(ask()).rejects.toMatchObject({ failure: late, cause: { message: words } });
  });

  test.each([
    [400, 'argument "ipfs-path" is required', 'api-error'],
    [401, 'Unauthorized', 'credentials-invalid'],
    [403, 'Kubo RPC Access Denied: file does not exist', 'credentials-invalid'],
    [404, '404 page not found', 'version-unsupported'],
    [429, 'slow down', 'rate-limited'],
    [502, '<html>Bad Gateway</html>', 'api-error'],
  ])('counts less than status %i with plain text', async (status, words, failure) => {
    server.on('id', ({ response }) => void response.writeHead(status).end(words));
    await expect(ask()).rejects.toMatchObject({ failure, cause: { message: words } });
  });

  test('is not the message that people are shown first', async () => {
    server.on('id', refusing(500, 'a secret of the node'));
    await expect(ask()).rejects.not.toThrow('a secret of the node');
  });
});

describe('an answer that is none', () => {
  test.each([
    ['cut short', cutting('{"ID":')],
    ['no JSON', ({ response }) => void response.end('{"ID":"x"')],
    ['empty', ({ response }) => void response.end()],
    ['a list', ({ response }) => void response.end('[]')],
    ['null', ({ response }) => void response.end('null')],
    ['of another kind', ({ response }) => void response.end('{"ID":7}')],
    [
      'shorter than it says',
      ({ response }) => void response.setHeader('x-content-length', '100').end('{"ID":"x"}'),
    ],
    ['longer than anybody would read', ({ response }) => flood(response)],
  ] satisfies [string, Parameters<Server['on']>[1]][])('is an error: %s', async (_, answer) => {
    server.on('id', answer);
    await expect(ask()).rejects.toMatchObject({ failure: 'response-invalid' });
  });

  test('is one whose lists are null only if they are asked to be more than empty', async () => {
    server.on('id', ({ response }) => void response.end('{"ID":"x","Addresses":null}'));
    expect(await ask()).toMatchObject({ addresses: [], protocols: [], online: false });
  });

  test('is a line that never ends', async () => {
    server.on('refs/local', ({ response }) => flood(response));
    const refs = node.content.refsLocal(calling());
    await expect(refs[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      failure: 'response-invalid',
    });
  });
});

/** More and more, until nobody takes it. */
function flood(response: Parameters<Parameters<Server['on']>[1]>[0]['response']): void {
  const chunk = Buffer.alloc(1024 * 1024, 0x20);
  const more = () => {
    if (!response.destroyed) response.write(chunk, more);
  };
  more();
}
