/** What Kubo tells of one entry of MFS. */

import type { Fields } from '../http/wire.ts';
import type { MfsStat } from '../mfs.ts';

/** `Type` of an entry of `files/ls`. */
const DIRECTORY = 1;

export const kindOf = (entry: Fields): MfsStat['type'] =>
  entry.count('Type') === DIRECTORY ? 'directory' : 'file';

export function statOf(answer: Fields): MfsStat {
  const mode = answer.optionalText('Mode');
  return {
    cid: answer.cid('Hash'),
    type: answer.text('Type') === 'directory' ? 'directory' : 'file',
    size: answer.count('Size'),
    cumulativeSize: answer.count('CumulativeSize'),
    blocks: answer.count('Blocks'),
    // Of a directory it holds a bit of Go's own beside the permissions.
    ...(mode === undefined ? {} : { mode: Number.parseInt(mode, 8) % 0o10000 }),
    ...(answer.has('Mtime')
      ? { mtime: { s: answer.number('Mtime'), ns: answer.count('MtimeNsecs') } }
      : {}),
    ...(answer.flag('WithLocality')
      ? { local: { complete: answer.flag('Local'), size: answer.count('SizeLocal') } }
      : {}),
  };
}
