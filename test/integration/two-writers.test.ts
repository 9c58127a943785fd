/** Two daemons that publish the same path to one Kubo: what each is told to do loses nothing of the other. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KuboNode } from '../services/kubo.ts';
import { TestDaemon } from './daemon.ts';

let kubo: KuboNode;
let configuration: string;
const daemons: TestDaemon[] = [];

beforeAll(async () => {
  kubo = await KuboNode.start();
  configuration = `[ipfs.kubo]\napi = "${kubo.api}"\n[sync]\ndebounce_ms = 0\n`;
});
afterAll(async () => {
  for (const daemon of daemons) await daemon.close();
  await kubo?.close();
});

async function started(...args: string[]): Promise<TestDaemon> {
  const daemon = await TestDaemon.start({ configuration, args });
  daemons.push(daemon);
  return daemon;
}

interface Synced {
  readonly snapshot_cid: string;
}

const sync = (daemon: TestDaemon) => daemon.json<Synced>(['sync', '--wait']);
const look = (daemon: TestDaemon) => daemon.shell('grep -r . . | sort', { in: 'ipfs' });

/** Is refused, and does what the refusal says. */
async function syncMerging(daemon: TestDaemon): Promise<Readonly<Record<string, unknown>>> {
  const refused = await daemon.kitfs(['sync', '--wait']);
  expect(refused.code).toBe(1);
  const text = `${refused.stdout}${refused.stderr}`;
  const [, cid] =
    /somebody else published (\S+) there: merge it with vfs_sync_from_ipfs/.exec(text) ?? [];
  const values = JSON.stringify({ ipfs_path: cid, path: '/ipfs' });
  const merged = await daemon.json<{ data: Record<string, unknown> }>([
    ...['call', 'vfs_sync_from_ipfs', values],
  ]);
  await sync(daemon);
  return merged.data;
}

test('each merges what the other published, as the hint says, and both end with all of it', async () => {
  const one = await started();
  await one.shell('echo 1 > shared; echo 1 > edited; echo 1 > gone; mkdir d; echo 1 > d/x', {
    in: 'ipfs',
  });
  const { snapshot_cid: snapshot } = await sync(one);
  const two = await started('--from', snapshot);
  await two.shell('echo 2 > from2; echo 2 > d/x; rm gone', { in: 'ipfs' });
  await sync(two);
  await one.shell('echo 1 > from1; echo edited > edited', { in: 'ipfs' });
  const first = await syncMerging(one);
  expect(first).toMatchObject({ counts: { created: 1, updated: 1, deleted: 1, conflicts: 0 } });
  const both = './d/x:2\n./edited:edited\n./from1:1\n./from2:2\n./shared:1\n';
  expect(await look(one)).toBe(both);
  await two.shell('echo 2 > later2; rm shared', { in: 'ipfs' });
  expect(await syncMerging(two)).toMatchObject({ counts: { deleted: 0, conflicts: 0 } });
  // What the other one makes of it is nothing but what is new.
  await one.shell('echo again > from1', { in: 'ipfs' });
  expect(await syncMerging(one)).toMatchObject({ counts: { deleted: 1, conflicts: 0 } });
  const all = './d/x:2\n./edited:edited\n./from1:again\n./from2:2\n./later2:2\n';
  expect(await look(one)).toBe(all);
});
