/** A tree mounted as a first start mounts its own: writable, owned by root. */
import type { Name } from '../../src/base/ids.ts';
import { type Caller, mount, type Vfs } from '../../src/vfs/vfs.ts';

export interface TestTree {
  readonly point: '/ipfs' | '/mem';
  readonly mode: number;
}

export function mountTree(vfs: Vfs, caller: Caller, { point, mode }: TestTree): void {
  const kind = point === '/mem' ? 'memory' : 'ipfs';
  mount(vfs.core, caller, {
    mountId: point,
    mountPoint: point as Name,
    kind,
    backend: kind,
    source: '',
    readOnly: false,
    volatile: kind === 'memory',
    options: {},
    uid: 0,
    gid: 0,
    mode,
  });
}
