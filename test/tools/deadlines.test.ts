/** How long a node may take is what the caller says, and not what the engine would give it. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { engineAt } from '../backend/engine.ts';
import { type Call, refusing, Server } from '../backend/server.ts';
import { type Facts, Fixture } from './fixture.ts';

const CID = 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta';
const NAME = 'k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8';
/** Longer than any deadline of the engine. */
const LONG_MS = 3_000_000;

let server: Server;
let world: Fixture;

beforeEach(async () => {
  server = await Server.start();
  world = new Fixture(undefined, engineAt(server.api));
});
afterEach(async () => {
  await world.close();
  await server[Symbol.asyncDispose]();
});

const CALLS: readonly (readonly [tool: string, values: Facts, command: string])[] = [
  ['ipfs_cat', { ipfs_path: CID }, 'block/get'],
  ['ipfs_block_get', { cid: CID }, 'block/get'],
  ['ipfs_block_stat', { cid: CID }, 'block/stat'],
  ['ipfs_pin_add', { ipfs_path: CID }, 'pin/add'],
  ['ipfs_name_resolve', { ipns_name: NAME }, 'name/resolve'],
  ['ipfs_name_publish', { ipfs_path: CID, allow_offline: true, resolve: false }, 'name/publish'],
];

test.each(CALLS)('%s may take as long as it is given', async (tool, values, command) => {
  server.on('pin/ls', refusing(500, 'path is not pinned'));
  server.on('key/ls', ({ response }) => void response.end('{"Keys":[{"Name":"self","Id":"k"}]}'));
  const told = new Promise<Call>((resolve) => {
    server.on(command, (call) => {
      resolve(call);
      return refusing(500, 'that is all that was asked')(call);
    });
  });
  const asked = world.ask(tool, { ...values, timeout_ms: LONG_MS });
  const [, leftMs] = /^(\d+)ms$/.exec((await told).query.get('timeout') ?? '') ?? [];
  expect(Number(leftMs)).toBeGreaterThan(LONG_MS - 60_000);
  expect(await asked).toMatchObject({ status: 'error', error_code: 'IPFS_API_ERROR' });
});
