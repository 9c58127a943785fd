import { expect, test } from 'vitest';
import type { JsonObject } from '../../src/mcp/frames.ts';
import { Asked, REFUSAL, success } from './asking.ts';

const FOLLOWS = {
  name: '/ipns/k51site',
  shown: 'bafysnap',
  interval_s: 60,
  checked_at: '2026-01-02T03:04:05.678901234Z',
};
const TROUBLE = { error_code: 'IPFS_DAEMON_NOT_RUNNING', text: 'ask the node: not-running\u001b' };

/** A daemon with one copy, whose tools answer so; what they were asked. */
async function having(envelope: object = success({}), follows: object = FOLLOWS) {
  const asks: unknown[] = [];
  const trees = [
    { path: '/ipfs', kind: 'ipfs', backend: 'ipfs', read_only: false, volatile: false },
    { path: '/site', kind: 'ipns', backend: 'ipns', read_only: true, volatile: false, follows },
  ];
  const asked = await Asked.open({
    status: async () => ({ mounts: [{ mount_point: '/srv/tree', trees }] }),
    call: async ({ tool, arguments: values }: JsonObject) => {
      asks.push([tool, values]);
      return envelope;
    },
  });
  return { asked, asks };
}

const mountOf = (source: string, mount_point: string, options: object = {}) => [
  'vfs_mount',
  {
    ...{ backend: 'ipns', source, mount_point, read_only: true, options },
    timeout_ms: 3_600_000,
  },
];

test.each([
  [['/ipns/k51site', '/site'], mountOf('/ipns/k51site', '/site')],
  [['k51site'], mountOf('/ipns/k51site', '/followed/k51site')],
  [['ipns://k51site/docs/'], mountOf('ipns://k51site/docs/', '/followed/docs')],
  [['k51site', '/srv/tree/a', '--interval', '5'], mountOf('/ipns/k51site', '/a', { refresh_s: 5 })],
])('%j mounts what follows the name, and says where', async (args, ask) => {
  const { asked, asks } = await having(success({ mount_point: '/a', local_path: '/srv/tree/a' }));
  await using _ = asked;
  const { code, stdout } = await asked.kitfs(['follow', ...args]);
  expect([code, stdout]).toEqual([0, '/srv/tree/a\n']);
  expect(asks).toEqual([ask]);
});

test('what the daemon refuses is told', async () => {
  const { asked } = await having(REFUSAL);
  await using _ = asked;
  const { code, stderr } = await asked.kitfs(['follow', 'k51site']);
  expect([code, stderr.includes('read /ipfs/a: invalid argument')]).toEqual([1, true]);
});

test('all copies are listed, with how current they are and what is wrong', async () => {
  const { asked } = await having(success({}), { ...FOLLOWS, error: TROUBLE });
  await using _ = asked;
  const { code, stdout } = await asked.kitfs(['follow', '--list']);
  expect(code).toBe(0);
  const why = 'ask the node: not-running\\x1b';
  expect(stdout).toBe(`/site  follows /ipns/k51site, as of 2026-01-02T03:04:05Z; ${why}\n`);
  const { stdout: json } = await asked.kitfs(['follow', '--list', '--json']);
  expect(JSON.parse(json)).toMatchObject([{ path: '/site', follows: { shown: 'bafysnap' } }]);
});

test('a copy is ended by its path, and nothing else is', async () => {
  const { asked, asks } = await having();
  await using _ = asked;
  expect((await asked.kitfs(['follow', '--end', '/srv/tree/site'])).code).toBe(0);
  expect(asks).toEqual([['vfs_unmount', { mount_point: '/site' }]]);
  const { code, stderr } = await asked.kitfs(['follow', '--end', '/ipfs']);
  expect([code, stderr.includes('kitfs follow --list')]).toEqual([1, true]);
  expect(asks).toHaveLength(1);
});

test.each([
  [[]],
  [['--end']],
  [['--list', 'k51site']],
  [['--list', '--end']],
  [['--end', '/site', '/other']],
  [['--end', '/site', '--interval', '5']],
  [['k51site', '--interval', '0']],
  [['k51site', '--interval', '1.5']],
  [['k51site', '--interval', '86401']],
])('%j is not how it is called', async (args) => {
  const { asked, asks } = await having();
  await using _ = asked;
  expect((await asked.kitfs(['follow', ...args])).code).toBe(2);
  expect(asks).toEqual([]);
});
