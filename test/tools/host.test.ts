/**
 * No tool reaches the host. Everything enters and leaves through the tree: what looks like a path of the host is one
 * of the tree, or is refused.
 */
import { readFileSync, statSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import { TOOLS } from '../../src/tools/inventory.ts';
import { Fixture } from './fixture.ts';

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

/** Every file of the host that is named is there, and says this of itself. */
const HOST = '/etc/passwd';
const MARK = /root:[^:]*:0:0/;
const SPELLINGS = [
  HOST,
  `file://${HOST}`,
  `//etc/passwd`,
  `/ipfs/../..${HOST}`,
  `/proc/self/root${HOST}`,
];

test('the file of the host is there, and would be known', () => {
  expect(readFileSync(HOST, 'utf8')).toMatch(MARK);
});

const isText = (schema: unknown): boolean => {
  const bare =
    schema instanceof z.ZodOptional || schema instanceof z.ZodDefault ? schema.unwrap() : schema;
  return bare instanceof z.ZodString;
};

test.each(TOOLS.map((tool) => [tool.name, tool] as const))(
  '%s reads nothing of it and writes nothing to it by any of its texts',
  async (name, tool) => {
    await fixture.write('/ipfs/notes.txt', 'ours');
    fixture.symlink('/ipfs/host', HOST);
    const before = statSync(HOST);
    const texts = Object.entries(tool.input.shape).filter(([, schema]) => isText(schema));
    for (const [argument] of texts) {
      for (const text of [...SPELLINGS, '/ipfs/host']) {
        const call = { ...(tool.example as object), [argument]: text };
        const answer = await fixture.call(name, call);
        expect(JSON.stringify(answer), `${name} ${argument} ${text}`).not.toMatch(MARK);
        for (const block of answer.content) {
          const bytes = block.type === 'resource' ? block.resource.blob : '';
          expect(Buffer.from(bytes, 'base64').toString()).not.toMatch(MARK);
        }
      }
    }
    const after = statSync(HOST);
    expect([after.mtimeMs, after.size, after.ino]).toEqual([
      ...[before.mtimeMs, before.size, before.ino],
    ]);
  },
);
