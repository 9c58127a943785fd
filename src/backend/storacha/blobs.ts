/**
 * Bringing bytes into a space: the service says where they go, they are sent there, it is told that they
 * were, and whoever has them accepts them
 * (https://github.com/storacha/specs/blob/main/w3-blob.md).
 *
 * Invariant: what ends without an error was accepted: it is stored, and belongs to the space.
 */
import type { Effect, Invocation } from '@ucanto/interface';
import { CID } from 'multiformats/cid';
import type { Deadline } from '../deadline.ts';
import { invalid } from '../http/wire.ts';
import { abilityOf, isInvocation, isOf, okOf, receiptsOf, type Told } from './messages.ts';
import type { Making, Requests } from './requests.ts';
import type { Blob } from './shards.ts';
import { loadUcanto } from './ucanto.ts';

/** What comes of asking for room: three tasks, and what is known of them yet. */
interface Tasks {
  readonly allocated: Told;
  readonly put: Invocation;
  /** undefined: it was not done yet. */
  readonly delivered: Told | undefined;
  readonly accept: Invocation;
  readonly accepted: Told | undefined;
}

/** @throws as `CarStore.uploads.put`. */
export async function addBlob(requests: Requests, blob: Blob, deadline: Deadline): Promise<void> {
  const { op } = deadline;
  const { multihash } = blob.cid;
  const nb = { blob: { digest: multihash.bytes, size: blob.size } };
  const told = await requests.ask('space/blob/add', nb, deadline);
  const tasks = await tasksOf(told.fx.fork, op);
  const place = placeIn(okOf(tasks.allocated, op), op);
  const isThere = tasks.delivered?.out.ok !== undefined;
  if (!isThere) {
    // Without a place the service has the bytes, and only was not told so.
    if (place !== undefined) await requests.send(place.url, place.headers, blob.pieces, deadline);
    await requests.invoke(deadline, (making) => delivered(making, tasks.put, multihash.digest));
  }
  const isAccepted = tasks.accepted?.out.ok !== undefined;
  if (isAccepted) return;
  okOf(await requests.receiptOf(CID.parse(String(tasks.accept.link())), deadline), op);
}

async function tasksOf(effects: readonly Effect[], op: string): Promise<Tasks> {
  const receipts = receiptsOf(await loadUcanto(), effects);
  const task = (...abilities: readonly string[]): Invocation => {
    const found = effects
      .filter(isInvocation)
      .find((invocation) => abilities.includes(abilityOf(invocation)));
    if (found === undefined) throw invalid(op, `it names no ${abilities[0]}`);
    return found;
  };
  const receipt = (of: Invocation) => receipts.find((one) => isOf(one, of.link()));
  const allocate = task('blob/allocate', 'web3.storage/blob/allocate');
  const put = task('http/put');
  const accept = task('blob/accept', 'web3.storage/blob/accept');
  const allocated = receipt(allocate);
  if (allocated === undefined) throw invalid(op, 'it does not say whether there is room');
  return { allocated, put, delivered: receipt(put), accept, accepted: receipt(accept) };
}

interface Place {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
}

/** undefined: the bytes are there already. */
function placeIn({ address }: Readonly<Record<string, unknown>>, op: string): Place | undefined {
  if (address === undefined || address === null) return undefined;
  const { url, headers = {} } = address as { readonly url?: unknown; readonly headers?: object };
  if (typeof url !== 'string' || !URL.canParse(url)) throw invalid(op, 'it names no place');
  const texts = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)]);
  return { url: new URL(url), headers: Object.fromEntries(texts) };
}

/** Says that bytes were sent. Whoever has them can derive the key that is signed with from their hash. */
async function delivered(
  { ucanto, agent, audience, expiration, nonce }: Making,
  put: Invocation,
  digest: Uint8Array,
) {
  const issuer = await ucanto.ed25519.derive(digest);
  const receipt = await ucanto.core.Receipt.issue({
    issuer,
    ran: put.link(),
    result: { ok: {} },
  });
  const blocks = new Map([...receipt.iterateIPLDBlocks()].map((block) => [`${block.cid}`, block]));
  const invocation = ucanto.core.invoke({
    issuer: agent.signer,
    audience,
    capability: {
      can: 'ucan/conclude',
      with: agent.signer.did(),
      nb: { receipt: receipt.link() },
    },
    expiration,
    nonce,
    facts: [Object.fromEntries([...blocks.values()].map(({ cid }, at) => [String(at), cid]))],
  });
  for (const block of blocks.values()) invocation.attach(block);
  return invocation;
}
