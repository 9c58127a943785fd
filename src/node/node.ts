/**
 * The face of the module that is the IPFS node of this machine: the embedded engine over content and
 * journal, and the choice between it and a Kubo that is configured.
 */
export { type AskedNode, Nodes } from './chosen.ts';
export { blockOf, type MadeBlock, nodeAt } from './dag.ts';
export { EmbeddedNode } from './embedded.ts';
export { Keys } from './keys.ts';
export type { Reach } from './reach.ts';
export { type Ref, refsOf } from './refs.ts';
export { NameResolver, type Target } from './resolver.ts';
export { retrieve } from './retrieve.ts';
