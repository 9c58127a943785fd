/** A keeper with a daemon (kept.mjs), and a conversation with both. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const RELEASE = fileURLToPath(new URL('../../native/build/Release', import.meta.url));
export const KEEPER = join(RELEASE, 'kitfs-keeper');
const DAEMON = fileURLToPath(new URL('kept.mjs', import.meta.url));
/** A daemon, which speaks lines of JSON. */
export const COMMAND = [process.execPath, DAEMON, join(RELEASE, 'kitfs.node')];

/** What the daemon says. */
interface Said {
  readonly hello?: string;
  readonly busy?: boolean;
  readonly pid: number;
  readonly group: number;
  readonly inherited: readonly string[];
  readonly a?: { readonly data: string; readonly place: string };
  readonly b?: { readonly data: string; readonly place: string };
  readonly done?: string;
  readonly heard?: string;
  readonly result?: unknown;
}

/** A process that speaks lines of JSON. */
export class Talker implements Disposable {
  readonly process: ChildProcess;
  readonly ended: Promise<unknown>;
  readonly #lines: AsyncIterator<string>;
  #errors = '';
  #pids = new Set<number>();

  constructor(program: string, args: readonly string[], extra: readonly number[] = []) {
    this.process = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe', ...extra] });
    const { stdout, stderr } = this.process;
    if (stdout === null || stderr === null) throw new Error('there are no pipes');
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
    stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
    this.ended = once(this.process, 'close');
  }

  get errors(): string {
    return this.#errors;
  }

  /** Resolves when more was said on standard error. */
  async heard(): Promise<void> {
    if (this.process.stderr !== null) await once(this.process.stderr, 'data');
  }

  async said(): Promise<Said> {
    const { done, value } = await this.#lines.next();
    if (done === true) throw new Error(`it has ended: ${this.#errors}`);
    const said = JSON.parse(value) as Said;
    if (said.pid !== undefined) this.#pids.add(said.pid);
    return said;
  }

  tell(...command: readonly unknown[]): void {
    this.process.stdin?.write(`${JSON.stringify(command)}\n`);
  }

  /** Tells, and waits until that is done. */
  async ask(...command: readonly unknown[]): Promise<unknown> {
    this.tell(...command);
    return (await this.said()).result;
  }

  [Symbol.dispose](): void {
    this.process.kill('SIGKILL');
    for (const pid of this.#pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended.
      }
    }
  }
}

export const keeping = (...options: readonly string[]) =>
  new Talker(KEEPER, [...options, '--', ...COMMAND]);

/** A keeper whose daemon serves. */
export async function serving(...options: readonly string[]) {
  const talker = keeping(...options);
  const first = await talker.said();
  await talker.ask('send', 'ready');
  return { talker, first };
}
