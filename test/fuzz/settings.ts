/**
 * Configuration files that nobody meant: each is taken whole, with numbers the journal can count in,
 * or refused with a sentence that says where.
 */
import { parse } from 'smol-toml';
import { OpError } from '../../src/base/errors.ts';
import {
  memoryBytesMax,
  parseSettings,
  retentionOf,
  settingsTable,
} from '../../src/daemon/settings.ts';
import type { Outcomes } from './databases.ts';
import { Dice } from './dice.ts';

const VALUES = [
  ...[
    'true',
    'false',
    '1',
    '0',
    '-1',
    '1.5',
    '9007199254740991',
    '9007199254740993',
    '1e400',
    'nan',
  ],
  ...['inf', '"/a"', '"a"', '""', "'''\na\n'''", '[]', '[1, "a"]', '{}', '{ a = 1 }', '1979-05-27'],
  ...[
    '0x7fffffffffffffff',
    '"\\ud800"',
    '"\\u0000"',
    '"auto"',
    '"native"',
    '"info"',
    '',
    'null',
    '=',
    '[[',
  ],
] as const;
const KEYS = [
  ...[
    'other',
    '__proto__',
    'constructor',
    'toString',
    '"a b"',
    'mount.other',
    'a.b.c.d',
    '""',
    'log',
  ],
] as const;

export async function settingsStorm({
  seed,
  count,
}: {
  seed: number;
  count: number;
}): Promise<Outcomes> {
  const dice = new Dice(seed);
  const ends: Record<string, number> = {};
  const faults: string[] = [];
  let [done, slowestMs] = [0, 0];
  for (; done < count && faults.length === 0; done++) {
    const text = madeFrom(dice);
    const startMs = performance.now();
    const { end, fault } = tried(text);
    slowestMs = Math.max(slowestMs, performance.now() - startMs);
    ends[end] = (ends[end] ?? 0) + 1;
    if (fault !== undefined) faults.push(`${fault}\n${text.slice(0, 2000)}`);
  }
  return { count: done, ends, slowestMs: Math.round(slowestMs), faults };
}

function tried(text: string): { readonly end: string; readonly fault?: string } {
  try {
    const settings = parseSettings(text, '/etc/kitfs/config.toml');
    const numbers = [memoryBytesMax(settings), ...Object.values(retentionOf(settings))];
    if (numbers.every(Number.isSafeInteger)) return { end: 'taken' };
    return { end: 'fault', fault: `numbers nobody counts: ${numbers.join(', ')}` };
  } catch (error) {
    if (!(error instanceof OpError)) {
      return { end: 'fault', fault: error instanceof Error ? `${error.stack}` : String(error) };
    }
    const { failure, hint = '' } = error;
    const says = isToml(text) ? isNaming(error) : /^line \d+, column \d+: ./.test(hint);
    if (failure === 'configuration' && says) return { end: 'refused' };
    return { end: 'fault', fault: `not clear: ${failure}, ${hint}` };
  }
}

/** Whether each thing that is wrong comes with its key. */
function isNaming({ details }: OpError): boolean {
  const issues = details['issues'] as readonly { argument: string; reason: string }[] | undefined;
  return issues?.every(({ argument, reason }) => argument !== '' && reason !== '') === true;
}

function isToml(text: string): boolean {
  try {
    parse(text);
    return true;
  } catch {
    return false;
  }
}

function madeFrom(dice: Dice): string {
  if (dice.chance(3)) return dice.bytes(dice.below(500)).toString('latin1');
  if (dice.chance(3)) return nested(dice);
  const known = settingsTable().filter(() => dice.chance(60));
  const lines = known.map(({ key, defaultText }) => {
    const value = dice.chance(75) ? (defaultText ?? '"/a"') : dice.pick(VALUES);
    return `${key} = ${value}`;
  });
  if (dice.chance(20)) lines.push(`${dice.pick(KEYS)} = ${dice.pick(VALUES)}`);
  if (dice.chance(10)) lines.push(dice.pick(lines.length === 0 ? ['[mount]'] : lines));
  if (dice.chance(10)) lines.push(dice.pick(['[mount]', '[[log]]', '[history.x]', '[', '# \x00']));
  const text = lines.join(dice.chance(95) ? '\n' : '\r');
  if (!dice.chance(25)) return text;
  const at = dice.below(Math.max(1, text.length));
  const piece = dice.chance(50) ? String.fromCharCode(dice.below(0x2000)) : '';
  return text.slice(0, at) + piece + text.slice(at + dice.below(4));
}

function nested(dice: Dice): string {
  const depth = dice.pick([5, 500, 20_000]);
  return dice.chance(50)
    ? `mount = ${'['.repeat(depth)}${']'.repeat(depth)}`
    : `${'a.'.repeat(depth)}b = 1`;
}
