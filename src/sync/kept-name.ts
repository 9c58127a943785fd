/** The name of what came from elsewhere and is kept beside what is here. */
import type { Name } from '../base/ids.ts';
import { NAME_BYTES_MAX } from '../base/limits.ts';
import type { CID } from '../content/content.ts';

/** What is longer is no ending of a name. */
const ENDING_BYTES_MAX = 32;
const CID_CHARS = 8;

/** `stem.conflict-<last 8 of the CID>.ext`, numbered when that is taken; it is taken then. */
export function keptName(name: Name, cid: CID, taken: Set<Name>): Name {
  const dot = name.lastIndexOf('.');
  const isEnding = dot > 0 && name.length - dot <= ENDING_BYTES_MAX;
  const [stem, ending] = isEnding ? [name.slice(0, dot), name.slice(dot)] : [name, ''];
  const mark = `.conflict-${cid.toString().slice(-CID_CHARS)}`;
  for (let count = 1; ; count += 1) {
    const tail = `${mark}${count === 1 ? '' : `-${count}`}${ending}`;
    const kept = `${cut(stem, NAME_BYTES_MAX - tail.length)}${tail}` as Name;
    if (taken.has(kept)) continue;
    taken.add(kept);
    return kept;
  }
}

/** Names are bytes, one to a character: no character of UTF-8 is cut in two. */
function cut(stem: string, bytesMax: number): string {
  if (stem.length <= bytesMax) return stem;
  let end = bytesMax;
  while (end > 0 && (stem.charCodeAt(end) & 0xc0) === 0x80) end -= 1;
  return stem.slice(0, end);
}
