/**
 * What the tree shows of content by CID: the vfs asks by CIDs as text, the content module knows DAGs,
 * and fetches what is not here when somebody can be asked. And what it shows of names.
 */
import { OpError } from '../base/errors.ts';
import { NAME_BYTES_MAX } from '../base/limits.ts';
import { type CID, type Dag, parseCid, RAW_CODEC } from '../content/content.ts';
import type { NameResolver } from '../node/node.ts';
import type { ContentNode, ContentReader, NameReader } from '../vfs/vfs.ts';

/**
 * Rejects not-found for a CID that is bad or absent, or that is neither file, directory nor link;
 * content-missing when it is not known whether it is absent, because who might have it could not be
 * asked; integrity for damaged blocks, and for a directory with a link whose name is none.
 */
export function contentReader(dag: Dag): ContentReader {
  return {
    isCid: (name) => parsed(name) !== undefined,
    node: (cid, signal) => nodeOf(dag, cid, signal),
    children: (cid, signal) => childrenOf(dag, cid, signal),
    read: (cid, position, length, signal) =>
      present(cid, (root) => dag.readRange(root, { position, length }, signal)),
  };
}

/** Rejects as the resolver does. */
export const nameReader = (names: NameResolver): NameReader => ({
  isName: (name) => names.isName(name),
  resolve: async (name, signal) => {
    const { cid, segments, validMs } = await names.resolve(name, { signal });
    return { cid: cid.toString(), segments, validMs };
  },
});

async function nodeOf(dag: Dag, cid: string, signal: AbortSignal): Promise<ContentNode> {
  const entry = await present(cid, (root) => dag.entryOf(root, signal));
  const { type, size, mode, mtime, target } = entry;
  if (type === 'other') {
    throw new OpError('not-found', `show ${cid}`, { hint: 'it is neither file nor directory' });
  }
  const text = target === undefined ? undefined : Buffer.from(target, 'latin1').toString('utf8');
  return { cid, type: type === 'raw' ? 'file' : type, size, mode, mtime, target: text };
}

async function* childrenOf(dag: Dag, cid: string, signal: AbortSignal) {
  const root = parseCid(cid);
  try {
    for await (const { name, cid: child } of dag.list(root, signal)) {
      if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name)) {
        throw new OpError('integrity', `list ${cid}`, {
          hint: 'a link in it has a name that is none',
          details: { cid },
        });
      }
      // IPFS has longer ones; nobody here could ask for it.
      if (Buffer.byteLength(name) > NAME_BYTES_MAX) continue;
      // A raw block is a file: none is fetched to find that out.
      const isAway = child.code === RAW_CODEC && dag.sizeOf(child) === undefined;
      const type = isAway ? 'file' : undefined;
      yield { name, cid: child.toString(), type } as const;
    }
  } catch (error) {
    throw absentAsNotFound(error, cid);
  }
}

async function present<T>(cid: string, read: (root: CID) => Promise<T>): Promise<T> {
  try {
    return await read(parseCid(cid));
  } catch (error) {
    throw absentAsNotFound(error, cid);
  }
}

function absentAsNotFound(cause: unknown, cid: string): unknown {
  const isAbsent =
    cause instanceof OpError &&
    ['content-missing', 'unsupported', 'invalid-cid'].includes(cause.failure) &&
    ABSENCE.has(cause.details['reason']);
  return isAbsent ? new OpError('not-found', `show ${cid}`, { cause, details: { cid } }) : cause;
}

/** Nobody was asked, there is nobody, or nobody has it: what else keeps a block away says nothing. */
const ABSENCE: ReadonlySet<unknown> = new Set([undefined, 'not-configured', 'content-missing']);

/** In no alphabet of a multibase, and in most names of files. */
const NO_DIGIT = /[\s.,:;()!@#$%&*'"?<>|\\[\]{}]/;

/** undefined: an ordinary name. Asked for every name in `/ipfs`. */
function parsed(text: string): CID | undefined {
  if (NO_DIGIT.test(text)) return undefined;
  try {
    return parseCid(text);
  } catch (error) {
    if (error instanceof OpError && error.failure === 'invalid-cid') return undefined;
    throw error;
  }
}
