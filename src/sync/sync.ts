/**
 * The face of the module that carries content out of the tree and into it: a subtree published as
 * UnixFS with a snapshot record, a tree of content restored into a directory. The tree is read from
 * the journal and written through a port.
 */

export { type Assembled, assemble } from './assemble.ts';
export { Background, type Unpublished } from './background.ts';
export type { Conflict } from './compare.ts';
export { type Difference, differences } from './diff.ts';
export { syncBlocks } from './durable.ts';
export { Evictor, type Space } from './evict.ts';
export { Follower, type FollowState } from './follow.ts';
export { type Numbered, numbered } from './foresee.ts';
export { type FrozenEntry, freeze, type Gate, OPEN_GATE } from './freeze.ts';
export { Gatherer } from './gather.ts';
export { Ladder } from './ladder.ts';
export { readManifest } from './manifest.ts';
export type { MfsEditing, MfsEnd } from './mfs-end.ts';
export { type MfsState, MfsTrees } from './mfs-trees.ts';
export { type Published, Publisher, type PublishRequest } from './publish.ts';
export { hindranceOf } from './reach.ts';
export { Releaser } from './release.ts';
export { type OnConflict, type Restored, type RestoreRequest, Restorer } from './restore.ts';
export { chainOf, readSnapshot, type Snapshot } from './snapshot.ts';
export { ENTRY_TYPES, typeOf } from './types.ts';
export { placeOf, type Sent } from './upload.ts';
export { type Outcome, type UnderWay, Uploads } from './uploads.ts';
