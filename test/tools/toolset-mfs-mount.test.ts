/** The laws of trees of MFS over the embedded engine. */
import { beforeEach } from 'vitest';
import { Fixture } from './fixture.ts';
import { lawsOfMfsMounts } from './mfs-mount-laws.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
  return () => world.close();
});

lawsOfMfsMounts({ kind: 'embedded', world: () => world });
