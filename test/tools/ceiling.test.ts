/** What a ceiling lets through: which tools, which places, and what is told of the others. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { nameOfText } from '../../src/base/ids.ts';
import { lower, NOTHING, READ_ONLY, Scope, UNLIMITED } from '../../src/tools/ceiling.ts';
import { TOOLS } from '../../src/tools/inventory.ts';
import { placesIn } from '../../src/tools/schema.ts';
import type { Tool } from '../../src/tools/tool.ts';
import { Fixture } from './fixture.ts';

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

const within = (...paths: readonly string[]) => ({ ...UNLIMITED, scope: new Scope(paths) });

describe('a scope', () => {
  const scope = new Scope(['/ipfs/in', '/mem/ä']);

  test.each([
    ['/ipfs/in', true, true],
    ['/ipfs/in/deep/er', true, true],
    ['/mem/ä/x', true, true],
    ['/ipfs', false, true],
    ['/', false, true],
    ['/ipfs/inside', false, false],
    ['/ipfs/out', false, false],
    ['/mem/a', false, false],
  ])('of whole names: %s', (path, covers, leadsTo) => {
    const name = nameOfText(path);
    expect({ covers: scope.covers(name), leadsTo: scope.leadsTo(name) }).toEqual({
      covers,
      leadsTo,
    });
  });

  test('of the root covers everything', () => {
    const all = new Scope(['/']);
    expect(['/', '/ipfs', '/ipfs/in'].map((path) => all.covers(nameOfText(path)))).toEqual([
      ...[true, true, true],
    ]);
  });
});

test('two ceilings allow what both allow', () => {
  const tools = new Set(['vfs_read', 'vfs_write']);
  const both = lower(READ_ONLY, { ...within('/ipfs/in'), tools });
  expect(both).toMatchObject({ readOnly: true, tools });
  expect(both.scope?.covers(nameOfText('/ipfs'))).toBe(false);
  expect(lower(NOTHING, both).tools?.size).toBe(0);
  expect(lower({ ...UNLIMITED, tools: new Set(['vfs_ls', 'vfs_read']) }, both).tools).toEqual(
    new Set(['vfs_read']),
  );
});

describe('on a read-only connection', () => {
  const readers = TOOLS.filter(({ hints }) => hints.readOnly);
  const writers = TOOLS.filter(({ hints }) => !hints.readOnly);

  test('only tools that change nothing are listed', async () => {
    const listed = await fixture.registry.list(READ_ONLY);
    expect(listed.map(({ name }) => name)).toEqual(readers.map(({ name }) => name));
    expect(writers.length).toBeGreaterThan(5);
  });

  test.each(writers.map(({ name, example }) => [name, example] as const))(
    '%s is refused when it is called, and changes nothing',
    async (name, example) => {
      fixture.ceiling = READ_ONLY;
      await fixture.refused(name, example, 'TOOL_NOT_ALLOWED');
    },
  );

  test('tools that change nothing run, and change nothing', async () => {
    await fixture.write('/ipfs/in/a.txt', 'hello');
    const before = fixture.fingerprint();
    fixture.ceiling = READ_ONLY;
    for (const { name, example } of readers) {
      const { error_code: code } = await fixture.ask(name, example);
      expect(code, name).not.toBe('TOOL_NOT_ALLOWED');
    }
    expect(await fixture.text('/ipfs/in/a.txt')).toBe('hello');
    expect(fixture.fingerprint()).toEqual(before);
  });
});

test('a tool that the ceiling does not name is neither listed nor run', async () => {
  fixture.ceiling = { ...UNLIMITED, tools: new Set(['vfs_ls']) };
  const listed = await fixture.registry.list(fixture.ceiling);
  expect(listed.map(({ name }) => name)).toEqual(['vfs_ls']);
  await fixture.refused('vfs_stat', { path: '/ipfs' }, 'TOOL_NOT_ALLOWED');
  await fixture.done('vfs_ls', { path: '/ipfs' });
});

/** Parameters of the contract that name places, wherever they stand. */
const PLACE_NAMES = /^(path|source|destination|mount_point|output_path|ipfs_path|cid)$/;
const CID = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku';

test('every parameter that names a place is known as one', () => {
  const unknown = TOOLS.flatMap((tool) =>
    Object.entries(tool.input.shape)
      .filter(([name]) => PLACE_NAMES.test(name))
      .filter(([, schema]) => placesIn(schema, '/ipfs/x').length !== 1)
      .map(([name]) => `${tool.name}.${name}`),
  );
  expect(unknown).toEqual([]);
});

/** Each tool with each of its parameters that name a place. */
const NAMING = TOOLS.flatMap((tool) =>
  Object.entries(tool.input.shape)
    .filter(([, schema]) => placesIn(schema, '/ipfs/x').length === 1)
    .map(([name, schema]) => {
      const [place] = placesIn(schema, '/ipfs/x');
      return { tool, name, kind: place?.kind ?? 'tree' };
    }),
);

/** A call all of whose places lie inside, apart from that of `name`. */
function callWith(tool: Tool, name: string, place: string): Record<string, unknown> {
  const inside = Object.fromEntries(
    NAMING.filter((row) => row.tool === tool && row.kind !== 'content').map((row) => [
      row.name,
      row.kind === 'mfs' ? `/in/${row.name}` : `/ipfs/in/${row.name}`,
    ]),
  );
  const { content: _content, ...example } = tool.example as Record<string, unknown>;
  const isContent = ['vfs_write', 'ipfs_files_write'].includes(tool.name);
  return { ...example, ...inside, ...(isContent ? { content: 'x' } : {}), [name]: place };
}

describe('outside its scope', () => {
  beforeEach(async () => {
    await fixture.write('/ipfs/out/secret.txt', 'canary');
    await fixture.write('/ipfs/in/open.txt', 'open');
    await fixture.write('/ipfs/inside/near.txt', 'canary');
    fixture.symlink('/ipfs/in/door', '/ipfs/out');
    fixture.symlink('/ipfs/in/way', '../out');
    fixture.symlink('/ipfs/in/file', '/ipfs/out/secret.txt');
    fixture.ceiling = within('/ipfs/in');
  });

  test.each(NAMING.map(({ tool, name, kind }) => ({ tool, name, kind, of: tool.name })))(
    'nothing is reached by $name of $of, and nothing is told',
    async ({ tool, name, kind }) => {
      const places = {
        content: [CID, ...(name === 'cid' || name === 'replaces' ? [] : [`/ipfs/${CID}/x`])],
        mfs: ['/', '/out', '/inside/near', ...(name === 'source' ? ['/mfs/in'] : [])],
        tree: [
          '/',
          '/ipfs',
          '/ipfs/out',
          '/ipfs/out/secret.txt',
          '/ipfs/out/absent',
          '/ipfs/inside/near.txt',
          `/ipfs/${CID}`,
          '/.kitfs/status.json',
        ],
      };
      if (kind === 'mfs') fixture.ceiling = within('/mfs/in');
      for (const place of places[kind]) {
        const call = callWith(tool, name, place);
        if (kind === 'content' && 'backend' in tool.input.shape) call['backend'] = 'ipfs';
        const told = await fixture.refused(tool.name, call, 'POLICY_DENIED');
        expect(JSON.stringify(told)).not.toContain('canary');
      }
    },
  );

  test.each(
    ['vfs_ls', 'vfs_stat', 'vfs_read', 'vfs_write', 'vfs_mkdir', 'vfs_rm', 'vfs_rmdir'].map(
      (name) => [name],
    ),
  )('%s follows no link there, and does not tell what is behind it', async (name) => {
    const more = name === 'vfs_write' ? { content: 'x', parents: true } : {};
    const told = [];
    for (const way of ['door', 'way']) {
      for (const last of ['secret.txt', 'absent', 'absent/deeper']) {
        const path = `/ipfs/in/${way}/${last}`;
        const context = await fixture.refused(name, { path, ...more }, 'POLICY_DENIED');
        told.push({ ...context, request_id: '', path: '' });
      }
    }
    // What is there and what is not look alike.
    expect(new Set(told.map((context) => JSON.stringify(context))).size).toBe(1);
    const isFollowed = ['vfs_read', 'vfs_write'].includes(name);
    if (isFollowed) {
      await fixture.refused(name, { path: '/ipfs/in/file', ...more }, 'POLICY_DENIED');
    }
  });

  test('a link there and a plain path there are refused with the same words', async () => {
    const words = [];
    for (const path of ['/ipfs/out/secret.txt', '/ipfs/in/door/secret.txt']) {
      const { error } = (await fixture.ask('vfs_read', { path })) as { readonly error?: string };
      words.push(error?.replace(path, 'PATH'));
    }
    expect(words[0]).toContain('the token of this connection is for other places');
    expect(words[1]).toBe(words[0]);
  });

  test('nothing is copied or moved from there or to there by a link', async () => {
    for (const tool of ['vfs_copy', 'vfs_move']) {
      for (const [source, destination] of [
        ['/ipfs/in/door/secret.txt', '/ipfs/in/taken'],
        ['/ipfs/in/open.txt', '/ipfs/in/door/left'],
      ]) {
        await fixture.refused(tool, { source, destination }, 'POLICY_DENIED');
      }
    }
  });

  test('a link that leads back in is followed', async () => {
    fixture.ceiling = UNLIMITED;
    fixture.symlink('/ipfs/in/self', '/ipfs/in');
    fixture.ceiling = within('/ipfs/in');
    expect(await fixture.text('/ipfs/in/self/open.txt')).toBe('open');
  });

  test('inside, everything works as without a scope', async () => {
    await fixture.write('/ipfs/in/deep/er/b.txt', 'b');
    await fixture.done('vfs_copy', {
      source: '/ipfs/in/deep',
      destination: '/ipfs/in/copy',
      recursive: true,
    });
    await fixture.done('vfs_move', { source: '/ipfs/in/copy', destination: '/ipfs/in/moved' });
    await fixture.done('vfs_rm', { path: '/ipfs/in/deep', recursive: true });
    expect(await fixture.text('/ipfs/in/moved/er/b.txt')).toBe('b');
    const { path } = await fixture.done('vfs_stat', { path: '/ipfs/in/moved' });
    expect(path).toBe('/ipfs/in/moved');
  });

  test('history, mounts and pins tell of no place there', async () => {
    fixture.ceiling = UNLIMITED;
    await fixture.done('vfs_move', {
      source: '/ipfs/out/secret.txt',
      destination: '/ipfs/in/now.txt',
    });
    await fixture.done('vfs_mount', { backend: 'memory', mount_point: '/ipfs/out/mounted' });
    const { cid } = await fixture.done('ipfs_add', { content: 'canary', pin: true });
    const { pins: all } = await fixture.done('ipfs_pin_ls', {});
    expect(JSON.stringify(all)).toContain(cid);
    fixture.ceiling = within('/ipfs/in');
    const { entries } = await fixture.done('fs_journal_get_history', {
      path: '/ipfs/in',
      recursive: true,
    });
    expect(JSON.stringify(entries)).toContain('/ipfs/in/now.txt');
    expect(JSON.stringify(entries)).not.toContain('/ipfs/out');
    const { mounts } = await fixture.done('vfs_list_mounts', {});
    const points = (mounts as { mount_point: string }[]).map(({ mount_point }) => mount_point);
    expect(points).toContain('/ipfs');
    expect(points.filter((point) => point.startsWith('/ipfs/out') || point === '/mem')).toEqual([]);
    expect(JSON.stringify(await fixture.done('ipfs_pin_ls', {}))).not.toContain(cid);
  });
});
