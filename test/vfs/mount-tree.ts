/** A tree mounted as a first start mounts its own: writable, owned by root. */
import type { Name } from '../../src/base/ids.ts';
import { type Caller, mount, type Vfs } from '../../src/vfs/vfs.ts';

export interface TestTree {
  readonly point: string;
  readonly mode: number;
  /** ipfs, or memory at /mem, when absent. */
  readonly kind?: 'ipfs' | 'memory';
  readonly options?: Readonly<Record<string, unknown>>;
}

export function mountTree(vfs: Vfs, caller: Caller, { point, mode, ...given }: TestTree): void {
  const { kind = point === '/mem' ? 'memory' : 'ipfs', options = {} } = given;
  mount(vfs.core, caller, {
    mountId: point,
    mountPoint: point as Name,
    kind,
    backend: kind,
    source: '',
    readOnly: false,
    volatile: kind === 'memory',
    options,
    uid: 0,
    gid: 0,
    mode,
  });
}
