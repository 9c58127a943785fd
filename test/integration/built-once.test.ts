/** What tests run as services is built once, whole or not at all, and says why when it cannot be. */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const BUILD = fileURLToPath(new URL('../services/build.mjs', import.meta.url));
/** The compiler's own cache stays where it is: the standard library takes longer than the program. */
const GOCACHE = execFileSync('go', ['env', 'GOCACHE'], { encoding: 'utf8' }).trim();

/** One small service, in a directory and with a cache of its own. */
class Rig implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'kitfs-built-'));
  readonly #cache = join(this.directory, 'cache');

  constructor() {
    mkdirSync(join(this.directory, 'modules/greeter'), { recursive: true });
    this.write('go.mod', 'module kitfs.test/greeter\n\ngo 1.24\n\ntool kitfs.test/greeter\n');
    this.greets('hello');
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.directory, 'modules/greeter', name), text);
  }

  greets(word: string): void {
    this.write('main.go', `package main\n\nfunc main() { print(${JSON.stringify(word)}) }\n`);
  }

  get environment(): NodeJS.ProcessEnv {
    return { ...process.env, XDG_CACHE_HOME: this.#cache, GOCACHE };
  }

  args(...words: readonly string[]): string[] {
    return [BUILD, '--modules', join(this.directory, 'modules'), ...words];
  }

  /** Resolves with what was printed; rejects with what was wrong. */
  async run(words: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Promise<string> {
    const done = await promisify(execFile)(process.execPath, this.args(...words), {
      env: { ...this.environment, ...env },
      timeout: 50_000,
    });
    return done.stdout;
  }

  /** What the built program says. */
  async greeting(): Promise<string> {
    const program = join((await this.run(['where', 'greeter'])).trim(), 'greeter');
    return (await promisify(execFile)(program)).stderr;
  }

  /** What lies in the cache. */
  entries(): string[] {
    const folder = join(this.#cache, 'kitfs-test/services');
    return existsSync(folder) ? readdirSync(folder) : [];
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

test('of two at once, one builds and both have it; what has changed is built anew', async () => {
  using rig = new Rig();
  await expect(rig.run(['where', 'greeter'])).rejects.toThrow('not built');
  const said = await Promise.all([rig.run(), rig.run()]);
  expect(said.filter((text) => /greeter: built in \d+\.\d s/.test(text))).toHaveLength(1);
  expect(await rig.greeting()).toBe('hello');
  expect(await rig.run()).toContain('built before');

  rig.greets('good day');
  await expect(rig.run(['where', 'greeter'])).rejects.toThrow('not built');
  expect(await rig.run()).toContain('greeter: built in');
  expect(await rig.greeting()).toBe('good day');
  rig.greets('hello');
  expect(await rig.greeting()).toBe('hello');
});

test('what cannot be built is not there, and the compiler’s words are', async () => {
  using rig = new Rig();
  rig.write('main.go', 'package main\n\nfunc main() { nonsense() }\n');
  await expect(rig.run()).rejects.toThrow(/undefined: nonsense[\s\S]*service greeter: go build/);
  rig.write('go.mod', 'module kitfs.test/greeter\n\ngo 1.24\n');
  rig.greets('hello');
  await expect(rig.run()).rejects.toThrow('"tool" matched no packages');
  await expect(rig.run(['where', 'greeter'])).rejects.toThrow('not built');
  expect(rig.entries()).toEqual(['greeter.lock']);
});

test('without Go it says what to install', async () => {
  using rig = new Rig();
  const missing = rig.run([], { PATH: rig.directory });
  await expect(missing).rejects.toThrow(/service greeter: no command `go`: install Go/);
});

test('a build that was killed stands in nobody’s way', async () => {
  using rig = new Rig();
  const child = spawn(process.execPath, rig.args(), {
    env: rig.environment,
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  expect(line.toString()).toContain('greeter: building');
  process.kill(-(child.pid ?? 0), 'SIGKILL');
  await once(child, 'exit');
  expect(await rig.run()).toContain('greeter: built in');
  expect(rig.entries().filter((name) => name.startsWith('.'))).toEqual([]);
  expect(await rig.greeting()).toBe('hello');
});
