/** Generated parts of the documents are what the code says today. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { settingsTable } from '../../src/daemon/settings.ts';
import { TOOLS } from '../../src/tools/inventory.ts';

const readme = readFileSync(fileURLToPath(new URL('../../README.md', import.meta.url)), 'utf8');

const settings = (): string =>
  [
    '| key | type | default | what |',
    '|---|---|---|---|',
    ...settingsTable().map(
      ({ key, type, defaultText, text }) =>
        `| \`${key}\` | ${type} | ${defaultText ?? ''} | ${text} |`,
    ),
  ].join('\n');

const tools = (): string => {
  const toolsets = [...new Set(TOOLS.map(({ toolset }) => toolset))].sort();
  const names = (wanted: string): string =>
    TOOLS.filter(({ toolset }) => toolset === wanted)
      .map(({ name }) => `\`${name}\``)
      .sort()
      .join(' ');
  return toolsets.map((toolset) => `- ${toolset}: ${names(toolset)}`).join('\n');
};

describe('the README', () => {
  test.each([
    ['settings', settings()],
    ['tools', tools()],
  ])('holds the %s as they are; put this text there when it differs', (_, text) => {
    expect(readme).toContain(text);
  });

  test('counts the tools right', () => {
    expect(readme).toContain(`${TOOLS.length} tools over MCP`);
  });
});
