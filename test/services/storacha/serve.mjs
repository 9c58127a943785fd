/**
 * The upload service of Storacha, its own code on stores in memory, behind HTTP on 127.0.0.1:
 *
 *     node test/services/storacha/serve.mjs PORT [BYTES]
 *
 * BYTES is what each account may store; as much as it likes when absent. One line of JSON says `{ url, did }`; SIGTERM
 * ends it. What an account does elsewhere (spaces, delegations, provisions) is done by `/test/…`, with the client of
 * Storacha:
 *
 *     POST /test/space {"provisioned"}                             { space }
 *     POST /test/proof {"space","abilities","key","expiration"}    { key, proof }, of a new key when none is named
 *     POST /test/revoke {"proof"}                                  the owner of the space takes it back
 *     POST /test/upload {"space","text"}                           { root }, put there by the client of Storacha
 *     POST /test/uploads {"space"}                                 [{ root, shards }], as that client lists them
 *     POST /test/harm {"kind":"hang"|"reset"|503,"times"}          { left } of those before; for PUTs to nodes
 *     GET  /test/blob/<multihash, base58btc>                       what a storage node has
 *
 * Plain JavaScript: the packages have types for other settings than ours.
 */
import assert from 'node:assert';
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import * as Client from '@storacha/client';
import { extract } from '@storacha/client/delegation';
import * as Signer from '@storacha/client/principal/ed25519';
import { StoreMemory } from '@storacha/client/stores/memory';
import { cleanupContext, createContext } from '@storacha/upload-api/test/context';
import { CAR, delegate, Message, parseLink } from '@ucanto/core';
import { base58btc } from 'multiformats/bases/base58';
import { base64 } from 'multiformats/bases/base64';
import { CID } from 'multiformats/cid';
import * as Digest from 'multiformats/hashes/digest';
import { identity } from 'multiformats/hashes/identity';

const [port = '0', bytes] = process.argv.slice(2);

/** What happens to the next PUTs, one after the other; they never reach a storage node. */
let harms = [];

function harmed(request, response) {
  const harm = request.method === 'PUT' ? harms.shift() : undefined;
  if (harm === undefined) return false;
  if (harm === 'reset') request.socket.destroy();
  else if (harm !== 'hang') response.writeHead(harm).end();
  return true;
}

/** The service's storage nodes listen without an address, which is on every one. */
const loopback = {
  ...http,
  createServer: (listener) => {
    const server = http.createServer((request, response) => {
      if (!harmed(request, response)) listener(request, response);
    });
    const listen = server.listen.bind(server);
    server.listen = (done) => listen(0, '127.0.0.1', done);
    return server;
  },
};

const DID = 'did:web:test.up.storacha.network';
const context = await createContext({
  http: loopback,
  assert,
  ...(bytes === undefined ? {} : { providers: { [DID]: Number(bytes) } }),
});
const { connection } = context;

// What the service may ask of those it works with was given to it for half a minute.
for (const { connection: other, invocationConfig } of [
  context.indexingService,
  context.claimsService,
]) {
  const lasting = {
    issuer: other.id,
    audience: invocationConfig.issuer,
    capabilities: [{ can: 'assert/*', with: other.id.did() }],
    expiration: Infinity,
  };
  invocationConfig.proofs = [await delegate(lasting)];
}

const server = http.createServer((request, response) => {
  answer(request, response).catch((error) => {
    response.writeHead(500).end(String(error?.message ?? error));
  });
});
await new Promise((resolve) => server.listen(Number(port), '127.0.0.1', resolve));
const url = `http://127.0.0.1:${server.address().port}`;

const owner = await Client.create({
  store: new StoreMemory(),
  serviceConf: {
    access: connection,
    upload: connection,
    filecoin: connection,
    gateway: connection,
  },
  receiptsEndpoint: new URL('/receipt/', url),
});

async function bodyOf(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function answer(request, response) {
  const { method, url: path } = request;
  if (path.startsWith('/test/')) return await arrange(request, response);
  if (method === 'POST') {
    const body = new Uint8Array(await bodyOf(request));
    const told = await connection.channel.request({ headers: request.headers, body });
    return response.writeHead(told.status ?? 200, told.headers).end(told.body);
  }
  if (!path.startsWith('/receipt/')) return response.writeHead(404).end();
  const receipt = await context.agentStore.receipts.get(parseLink(path.slice('/receipt/'.length)));
  if (receipt.error) return response.writeHead(404).end();
  const message = await Message.build({ receipts: [receipt.ok] });
  const blocks = new Map([...message.iterateIPLDBlocks()].map((block) => [`${block.cid}`, block]));
  return response.writeHead(200).end(CAR.encode({ roots: [message.root], blocks }));
}

async function arrange(request, response) {
  const [, , what, name] = request.url.split('/');
  if (what === 'blob') {
    const blob = await context.blobRetriever.stream(Digest.decode(base58btc.decode(name)));
    if (blob.error) return response.writeHead(404).end(blob.error.message);
    return response.end(Buffer.from(await new Response(blob.ok).arrayBuffer()));
  }
  const done = await ARRANGED[what](JSON.parse(await bodyOf(request)));
  return response.end(JSON.stringify(done));
}

const ARRANGED = {
  async space({ provisioned }) {
    const space = await owner.createSpace('test', { skipGatewayAuthorization: true });
    await owner.addSpace(await space.createAuthorization(owner));
    if (provisioned) {
      await context.provisionsStorage.put({
        provider: connection.id.did(),
        customer: 'did:mailto:example.org:test',
        consumer: space.did(),
      });
    }
    return { space: space.did() };
  },
  async proof({ space, abilities, key, expiration }) {
    const signer = key === undefined ? await Signer.generate() : Signer.parse(key);
    await owner.setCurrentSpace(space);
    const options = { expiration: expiration ?? Infinity };
    const delegation = await owner.createDelegation(signer, abilities, options);
    const { ok: archive } = await delegation.archive();
    const proof = CID.createV1(CAR.code, identity.digest(archive)).toString(base64);
    return { key: Signer.format(signer), proof };
  },
  async revoke({ proof }) {
    const { ok: delegation } = await extract(CID.parse(proof, base64).multihash.digest);
    const { error } = await owner.revokeDelegation(delegation.cid);
    if (error) throw error;
    return {};
  },
  async upload({ space, text }) {
    await owner.setCurrentSpace(space);
    return { root: String(await owner.uploadFile(new Blob([text]))) };
  },
  async uploads({ space }) {
    await owner.setCurrentSpace(space);
    const { results } = await owner.capability.upload.list({ size: 1000, nonce: randomUUID() });
    return results.map(({ root, shards }) => ({
      root: String(root),
      shards: shards.map(String),
    }));
  },
  async harm({ kind, times }) {
    const left = harms.length;
    harms = Array(times).fill(kind);
    return { left };
  },
};

console.log(JSON.stringify({ url, did: connection.id.did() }));

process.on('SIGTERM', async () => {
  server.closeAllConnections();
  server.close();
  await cleanupContext(context).catch(() => {});
  process.exit(0);
});
