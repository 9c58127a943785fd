/** The face of `backend`: what stores kitfs speaks to, and how. Only this module calls outward. */
export type { CallOptions } from './call.ts';
export { type Cluster, type ClusterOptions, openCluster } from './cluster/cluster.ts';
export { type ClusterPin, type ClusterStatus, PEER_STATES } from './cluster/records.ts';
export { type Replicas, replicasOf, wantedPeers } from './cluster/replicas.ts';
export { parseEndpoint } from './kubo/endpoint.ts';
export { type KuboOptions, openKubo } from './kubo/kubo.ts';
export { openLocal } from './local/local.ts';
export { openMemory } from './memory.ts';
export type {
  MfsCopied,
  MfsEdits,
  MfsEntry,
  MfsFacet,
  MfsHash,
  MfsLook,
  MfsStat,
} from './mfs.ts';
export type {
  DhtTable,
  Identity,
  NameFacet,
  NetworkStats,
  NodeKey,
  NodeVersion,
  PeerAddresses,
  Published,
  PublishOptions,
  PubsubFacet,
  PubsubMessage,
  RepoOptions,
  RepoStat,
  Resolved,
  ResolveOptions,
  RoutingFacet,
  StatsFacet,
} from './network.ts';
export type { AddEntry, IpfsNode, KuboNode, NodeKind, Pin, PinType } from './node.ts';
export { type Block, blocksOfCar } from './retrieval/car.ts';
export { parseProvider } from './retrieval/providers.ts';
export {
  type BlocksOptions,
  openSource,
  type SourceKind,
  type SourceOptions,
  type TrustlessSource,
  type Wanted,
} from './retrieval/retrieval.ts';
export { openS3 } from './s3/s3.ts';
export type { Capabilities, ObjectHead, Store } from './store.ts';
export { demandBytesOf } from './verify.ts';
export { prefixed } from './wrap/prefix.ts';
export { retrying } from './wrap/retry.ts';
export { verified } from './wrap/verify.ts';
