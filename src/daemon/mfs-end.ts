/** The mutable tree of the home node, of either engine, for the trees that show it. */
import type { KuboNode, MfsEdits, MfsFacet, MfsLook, MfsStat } from '../backend/backend.ts';
import type { CID } from '../content/content.ts';
import type { Journal } from '../journal/journal.ts';
import type { EmbeddedNode } from '../node/node.ts';
import type { MfsEditing, MfsEnd } from '../sync/sync.ts';

export const mfsEndOf = (
  node: EmbeddedNode | KuboNode,
  journal: Pick<Journal, 'commit'>,
): MfsEnd => (node.kind === 'kubo' ? kuboEnd(node) : embeddedEnd(node, journal));

function kuboEnd({ content, mfs }: KuboNode): MfsEnd {
  return {
    isSure: false,
    stat: (path, options) => mfs.stat(path, { ...options, flushed: true }),
    send: async (car, sent, options) => {
      await content.importCar(car, { ...options, pinRoots: false, sent });
    },
    edit: (signal, body) =>
      body(editing(mfs, signal, (path, cid) => mfs.place(path, cid, { signal }))),
  };
}

/** All changes are one: the root is replaced when they are made. */
function embeddedEnd({ mfs }: EmbeddedNode, journal: Pick<Journal, 'commit'>): MfsEnd {
  return {
    isSure: true,
    stat: async (path, options) => {
      // Before anybody wrote to the tree, its root is in no store.
      await mfs.flush('/', options);
      return mfs.stat(path, options);
    },
    edit: (signal, body) =>
      mfs.edit('bring a tree to MFS', signal, async (draft) => {
        const replace = async (path: string, cid: CID) => {
          await draft.rm(path, { signal, recursive: true });
          await draft.cp(`/ipfs/${cid}`, path, { signal });
        };
        await body(editing(draft, signal, replace));
        await draft.prepare({ flush: true, signal });
        journal.commit(() => draft.commit());
      }),
  };
}

type Edits = Pick<MfsEdits, 'mkdir' | 'cp' | 'rm'> & Pick<MfsLook | MfsFacet, 'stat'>;

/** `replace` puts something over a directory. */
function editing(
  mfs: Edits,
  signal: AbortSignal,
  replace: (path: string, cid: CID) => Promise<unknown>,
): MfsEditing {
  return {
    stat: (path) => mfs.stat(path, { signal }),
    mkdir: async (path) => (await mfs.mkdir(path, { signal, cidVersion: 1 })).cid,
    isWhole: async (path) => {
      const there = await mfs.stat(path, { signal, withLocal: true });
      return there?.local?.complete !== false;
    },
    link: async (path: string, cid: CID, there: MfsStat | undefined) => {
      if (there?.type === 'directory') await replace(path, cid);
      else await mfs.cp(`/ipfs/${cid}`, path, { signal, overwrite: there !== undefined });
    },
    remove: async (path) => {
      await mfs.rm(path, { signal, recursive: true });
    },
  };
}
