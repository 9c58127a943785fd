/** A file in a tree whose bytes are with a node. */
import { type Name, nameOfText } from '../../src/base/ids.ts';
import { blockKey, type CID, CONTENT_PROFILE } from '../../src/content/content.ts';
import { type Fixture, ROOT } from './fixture.ts';

/** Makes `/ipfs/<name>`, of which no byte is here. */
export function plantFar(here: Fixture, name: string, cid: CID, size: number): void {
  const { journal, contents, vfs } = here;
  journal.commit(() => {
    const content = contents.remote.create({ cid, size, profile: CONTENT_PROFILE });
    const node = { type: 'file', content, size, cid: blockKey(cid) } as const;
    const shown: Name = nameOfText(name);
    const made = { action: 'make', name: shown, replaces: undefined, node, metadata: {} } as const;
    vfs.graft(ROOT, {
      root: here.ino('/ipfs'),
      linksFrom: [],
      metadata: {},
      children: [{ ...made, children: [] }],
    });
  });
}
