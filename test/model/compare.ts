/**
 * Compares what the model answered with what the product did. Inode numbers are the product's own business, but every
 * inode of the model must always be the same one there, and no number may come back for another.
 */
import { expect } from 'vitest';
import type { Stat } from '../posix/filesystem.ts';
import { look, type Outcome } from './commands.ts';
import type { Tree } from './reference.ts';

/** Runs a call to an outcome. What has no errno is a failure of the test itself. */
export async function outcomeOf(call: Promise<unknown>): Promise<Outcome> {
  try {
    return { value: await call };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (/^E[A-Z0-9]+$/.test(code)) return { code };
    throw error;
  }
}

const isDirectory = (mode: number) => (mode & 0o170000) === 0o040000;

/** What the model knows of a stat: no times, and no size of a directory. */
function known({ mode, nlink, uid, gid, size }: Stat): Record<string, number> {
  return { mode, nlink, uid, gid, size: isDirectory(mode) ? 0 : size };
}

interface Seen {
  readonly stat?: Stat;
}

const statIn = (outcome: Outcome): Stat | undefined =>
  'value' in outcome ? (outcome.value as Seen | undefined)?.stat : undefined;

function withoutNumber(outcome: Outcome): unknown {
  const stat = statIn(outcome);
  if (stat === undefined || !('value' in outcome)) return outcome;
  return { value: { ...(outcome.value as Seen), stat: known(stat) } };
}

/** Large texts would make a failure unreadable. */
function shortened(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value ?? null, (_key, part: unknown) => {
      if (typeof part !== 'string' || part.length <= 64) return part;
      const runs = [...part.matchAll(/([\s\S])\1*/g)].map(([run]) => [run.slice(0, 1), run.length]);
      return { runs };
    }),
  );
}

export class Comparison {
  readonly #real = new Map<number, number>();
  readonly #model = new Map<number, number>();

  /** Throws unless the answers say the same. */
  same(expected: Outcome, actual: Outcome, what: string): void {
    expect(shortened(withoutNumber(actual)), what).toEqual(shortened(withoutNumber(expected)));
    const [model, real] = [statIn(expected), statIn(actual)];
    if (model === undefined || real === undefined) return;
    expect(real.ino, `inode of ${what}`).toBe(this.#real.get(model.ino) ?? real.ino);
    expect(model.ino, `inode of ${what}`).toBe(this.#model.get(real.ino) ?? model.ino);
    this.#real.set(model.ino, real.ino);
    this.#model.set(real.ino, model.ino);
  }

  /** Everything below a directory of both. */
  async sameBelow(model: Tree, real: Tree, names: readonly string[], above = ''): Promise<void> {
    for (const name of names) {
      const path = `${above}${name}`;
      const expected = await outcomeOf(look(model, path));
      this.same(expected, await outcomeOf(look(real, path)), path);
      const inside = 'value' in expected ? (expected.value as { names?: string[] }).names : [];
      await this.sameBelow(model, real, inside ?? [], `${path}/`);
    }
  }
}
