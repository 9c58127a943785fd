/** What a start loads before programs on the mount are answered. */
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const SOURCES = fileURLToPath(new URL('../../src/', import.meta.url));

/** Files and packages that `file` brings along at once; what it imports when it runs is not. */
async function broughtAlongBy(file: string): Promise<ReadonlySet<string>> {
  const seen = new Set<string>();
  const visit = async (path: string): Promise<void> => {
    if (seen.has(path)) return;
    seen.add(path);
    const text = await readFile(path, 'utf8');
    const targets = text.matchAll(/^(?:import|export) (?!type )[^;]*? from '([^']+)';/gm);
    for (const [, target = ''] of targets) {
      if (target.startsWith('.')) await visit(join(dirname(path), target));
      else seen.add(target);
    }
  };
  await visit(join(SOURCES, file));
  return seen;
}

test('a mount that is taken over is served before the tools are loaded', async () => {
  const early = await broughtAlongBy('daemon/serve.ts');
  const late = await broughtAlongBy('daemon/faces.ts');
  expect(early).toContain(join(SOURCES, 'fuse/session.ts'));
  for (const file of ['tools/inventory.ts', 'tools/registry.ts', 'sync/sync.ts', 'mcp/mcp.ts']) {
    expect(late).toContain(join(SOURCES, file));
    expect(early).not.toContain(join(SOURCES, file));
  }
  const loaded = [...early].filter((name) => name.startsWith('@modelcontextprotocol/'));
  expect(loaded).toEqual([]);
});
