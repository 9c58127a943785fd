/** `kitfs snapshot` as a user has it: on the mount of a daemon, with no node. */
import { expect, test } from 'vitest';
import { TestDaemon } from './daemon.ts';

interface Listed {
  readonly snapshots: readonly { readonly snapshot_cid: string }[];
}

test('a tree is listed, compared and taken back with the commands, also where it was only changed here', async () => {
  await using daemon = await TestDaemon.start();
  const look = () =>
    daemon.shell('find . | sort | xargs -d "\\n" stat -c "%n %F %a"; cat f d/g', { in: 'ipfs' });
  await daemon.shell('mkdir d; echo one > f; echo two > d/g; ln -s f l; chmod 640 d/g', {
    in: 'ipfs',
  });
  const before = await look();
  await daemon.json(['sync', '--wait']);
  const { snapshots } = await daemon.json<Listed>(['snapshot', 'list']);
  const [{ snapshot_cid: first } = { snapshot_cid: '' }] = snapshots;
  await daemon.shell('echo changed > f; rm -r d l; mkdir f2', { in: 'ipfs' });
  await daemon.json(['sync', '--wait']);
  const diff = await daemon.json<{ changes: { change: string; path: string }[] }>([
    ...['snapshot', 'diff', first, '/ipfs'],
  ]);
  const changes = diff.changes.map(({ change, path }) => `${change} ${path}`);
  expect(changes).toEqual(
    expect.arrayContaining(['changed f', 'deleted d', 'deleted d/g', 'deleted l', 'created f2']),
  );
  // Nobody published this.
  await daemon.shell('echo changed again > f', { in: 'ipfs' });
  const asked = ['snapshot', 'restore', '/ipfs', first];
  const plan = await daemon.json<{ dry_run: boolean }>([...asked, '--dry-run']);
  expect(plan.dry_run).toBe(true);
  expect(await daemon.shell('cat f; ls', { in: 'ipfs' })).toBe('changed again\nf\nf2\n');
  await expect(daemon.json([...asked, '--on-conflict', 'fail'])).rejects.toThrow('SYNC_CONFLICT');
  expect(await daemon.shell('cat f; ls', { in: 'ipfs' })).toBe('changed again\nf\nf2\n');
  await daemon.json(asked);
  expect(await look()).toBe(before);
  // All there was is there, and what was not published is the newest.
  const listed = async () =>
    (await daemon.json<Listed>(['snapshot', 'list'])).snapshots.map((one) => one.snapshot_cid);
  const kept = await listed();
  expect([kept.length, kept.at(-1)]).toEqual([3, first]);
  await daemon.json(['snapshot', 'restore', '/ipfs']);
  expect(await daemon.shell('cat f; ls', { in: 'ipfs' })).toBe('changed again\nf\nf2\n');
  await daemon.json(asked);
  expect(await look()).toBe(before);
  await daemon.json(['sync', '--wait']);
  // Where another one was shown, that was a moment of its own.
  expect((await listed()).slice(-3)).toEqual(kept);
  await daemon.json([...asked, '--into', '/ipfs/old']);
  expect(await daemon.shell('cat f d/g', { in: 'ipfs/old' })).toBe('one\ntwo\n');
});
