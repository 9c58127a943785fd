/**
 * What the configuration file said when a daemon began to serve a mount, in memory that the keeper
 * holds: when the file cannot be used any more, and this daemon is killed, the next one goes on with
 * that. In no file, because a text that was good may still have in its comments what is nobody's
 * business.
 */
import { closeSync, fstatSync, readSync, writeSync } from 'node:fs';
import type { NativeFiles, NativeKeeping } from '../base/native.ts';
import type { LastGood } from './config.ts';
import { CONNECTION, type Keeper } from './keeper.ts';

/** The name under which the keeper holds it. */
const CONFIGURATION = 'config';

/** The keeper holds it from now on, in place of an earlier one. @throws Error of the host. */
export function keepConfig(
  native: Pick<NativeKeeping, 'makeShared'> & Pick<NativeFiles, 'closeDescriptor'>,
  keeper: Pick<Keeper, 'hold'>,
  said: LastGood,
): void {
  const bytes = Buffer.from(JSON.stringify(said));
  const fd = native.makeShared(bytes.length);
  try {
    writeSync(fd, bytes, 0, bytes.length, 0);
    keeper.hold(CONFIGURATION, fd);
  } finally {
    native.closeDescriptor(fd);
  }
}

/** Undefined where there is no mount to go on with: whoever makes one hears what is wrong. */
export function takeConfig(keeper: Pick<Keeper, 'held'>): LastGood | undefined {
  const held = keeper.held(CONFIGURATION);
  if (held === undefined) return undefined;
  const bytes = Buffer.alloc(fstatSync(held.descriptor).size);
  const length = readSync(held.descriptor, bytes, 0, bytes.length, 0);
  closeSync(held.descriptor);
  if (keeper.held(CONNECTION) === undefined) return undefined;
  return saidIn(bytes.toString('utf8', 0, length));
}

function saidIn(text: string): LastGood | undefined {
  try {
    const { file, text: said } = JSON.parse(text) as Partial<Record<keyof LastGood, unknown>>;
    if (typeof file === 'string' && typeof said === 'string') return { file, text: said };
    return file === undefined && said === undefined ? {} : undefined;
  } catch {
    return undefined; // It was of another version.
  }
}
