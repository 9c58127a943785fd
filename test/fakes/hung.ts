/**
 * Content by CID from a backend that hangs: what is asked for comes never, and the promise ends with its signal alone.
 * Each request is told when it begins and when it is given up.
 */
import type { ContentNode, ContentReader } from '../../src/vfs/vfs.ts';

/** What hangs: finding out what the content is, its bytes, its names; or nothing. */
export type Hang = 'name' | 'read' | 'list' | 'none';

const CID_CHARS = 59;
const FILE_BYTES = 1024 * 1024;
const WORDS: ReadonlyMap<string, Hang> = new Map(
  (['name', 'read', 'list', 'none'] as const).map((hang) => [cidThat(hang), hang]),
);

/** Name below `/ipfs` of content of which that hangs. */
export function cidThat(hang: Hang): string {
  return `bafy${hang}`.padEnd(CID_CHARS, 'a');
}

export class HungContent implements ContentReader {
  readonly #say: (line: string) => void;

  /** `say` hears `asked WHAT` and `gave up WHAT`. */
  constructor(say: (line: string) => void) {
    this.#say = say;
  }

  isCid(name: string): boolean {
    return WORDS.has(name);
  }

  async node(cid: string, signal: AbortSignal): Promise<ContentNode> {
    const hang = WORDS.get(cid);
    if (hang === 'name') await this.#never(hang, signal);
    return { cid, type: hang === 'list' ? 'directory' : 'file', size: FILE_BYTES };
  }

  async *children(_cid: string, signal: AbortSignal): AsyncGenerator<never> {
    yield await this.#never('list', signal);
  }

  async read(
    cid: string,
    position: number,
    length: number,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    if (WORDS.get(cid) === 'read') await this.#never('read', signal);
    return Buffer.alloc(Math.min(length, FILE_BYTES - position), 'x');
  }

  #never(what: Hang, signal: AbortSignal): Promise<never> {
    this.#say(`asked ${what}`);
    return new Promise((_, refuse) => {
      signal.addEventListener('abort', () => {
        this.#say(`gave up ${what}`);
        refuse(signal.reason);
      });
    });
  }
}
