/**
 * Programs on /mfs and another client of one Kubo change one tree at random, while the daemon, Kubo or both are
 * killed: afterwards both sides have the same, each what its own side was told last, and nothing twice.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Dice } from '../fuzz/dice.ts';
import { TestDaemon } from '../integration/daemon.ts';
import { SEED } from '../model/seed.ts';
import { KuboNode } from '../services/kubo.ts';

const ROUNDS = 12;
const CHANGES = 12;
const DIRECTORIES = ['', '/a', '/a/b'];
const FILES = 5;
const SAME_MS_MAX = 30_000;
const POLL_MS = 100;
const TEST_MS_MAX = 400_000;

/** What a side was told last of its own files; undefined: it was removed; a mark: nobody knows. */
type Told = Map<string, string | undefined | symbol>;
const UNKNOWN = Symbol('the call was cut off');

/** As `files/ls` tells; no entries are null. */
interface Listing {
  readonly Entries: readonly { readonly Name: string; readonly Type: number }[] | null;
}
const DIRECTORY = 1;

class World {
  readonly dice = new Dice(SEED);
  readonly ours: Told = new Map();
  readonly theirs: Told = new Map();
  readonly kubo: KuboNode;
  readonly daemon: TestDaemon;
  #count = 0;

  constructor(kubo: KuboNode, daemon: TestDaemon) {
    this.kubo = kubo;
    this.daemon = daemon;
  }

  #change(prefix: string): { path: string; text: string | undefined } {
    this.#count += 1;
    const { dice } = this;
    const path = `${dice.pick(DIRECTORIES)}/${prefix}${dice.below(FILES)}`;
    return { path, text: dice.chance(25) ? undefined : `${prefix} ${this.#count}` };
  }

  /** In one shell, which says how far it came. */
  async program(): Promise<void> {
    const changes = Array.from({ length: CHANGES }, () => this.#change('p'));
    const script = changes.map(({ path, text }, at) => {
      const to = `mfs${path}`;
      const change =
        text === undefined ? `rm -f ${to}` : `echo ${text} > ${to}.new && mv ${to}.new ${to}`;
      return `${change} && echo ${at} || exit 1; sleep 0.0${this.dice.below(10)}`;
    });
    const { stdout } = await this.daemon.attempt('/bin/sh', ['-c', script.join('\n')]);
    const done = stdout.split('\n').filter(Boolean).length;
    for (const { path, text } of changes.slice(0, done)) this.ours.set(path, text && `${text}\n`);
    for (const { path } of changes.slice(done)) this.ours.set(path, UNKNOWN);
  }

  async client(): Promise<void> {
    for (let at = 0; at < CHANGES; at += 1) {
      const { path, text } = this.#change('c');
      const there = encodeURIComponent(path);
      const call =
        text === undefined
          ? this.kubo.rpc.bytes(`files/rm?arg=${there}&force=true`)
          : this.kubo.rpc.bytes(`files/write?arg=${there}&create=true&truncate=true`, text);
      const isDone = await call.then(
        () => true,
        () => false,
      );
      this.theirs.set(path, isDone ? text : UNKNOWN);
    }
  }

  async kill(): Promise<void> {
    await wait(this.dice.below(600));
    const which = this.dice.pick(['daemon', 'kubo', 'both', 'nobody'] as const);
    const isKuboKilled = which === 'kubo' || which === 'both';
    if (isKuboKilled) await this.kubo.kill();
    if (which === 'daemon' || which === 'both') await this.daemon.crash();
    if (!isKuboKilled) return;
    // Kubo may have forgotten what it told its client, and that is nobody else's to know.
    for (const path of this.theirs.keys()) this.theirs.set(path, UNKNOWN);
    await this.kubo.restart();
  }

  async here(): Promise<Map<string, string>> {
    const script = `cd mfs && find . -type f -printf '%P\\n' | sort | while read -r f
      do printf '%s\\t%s\\n' "$f" "$(cat "$f")"; done`;
    return listOf(await this.daemon.shell(script));
  }

  async there(): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    const look = async (path: string): Promise<void> => {
      const query = `files/ls?arg=${encodeURIComponent(path)}&long=true`;
      const { Entries } = await this.kubo.rpc.json<Listing>(query);
      for (const { Name: name, Type: type } of Entries ?? []) {
        const below = `${path === '/' ? '' : path}/${name}`;
        if (type === DIRECTORY) await look(below);
        else {
          const bytes = await this.kubo.rpc.bytes(`files/read?arg=${encodeURIComponent(below)}`);
          found.set(below.slice(1), bytes.toString().trim());
        }
      }
    };
    await look('/');
    return new Map([...found].sort(([one], [other]) => (one < other ? -1 : 1)));
  }

  /** Until both sides have the same. */
  async same(): Promise<Map<string, string>> {
    const deadline = performance.now() + SAME_MS_MAX;
    for (;;) {
      // What goes while it is looked at is looked at again.
      const here = await this.here().catch(() => undefined);
      const there = await this.there().catch(() => undefined);
      const sides = [here, there].map((side) => JSON.stringify([...(side ?? [])]));
      if (here !== undefined && there !== undefined && sides[0] === sides[1]) return here;
      if (performance.now() > deadline) {
        const { stdout } = await this.daemon.kitfs(['status']);
        const what = `they differ:\n${sides.join('\n')}\n${stdout}`;
        throw new Error(`seed ${SEED}: ${what}\n${this.daemon.output}`);
      }
      await wait(POLL_MS);
    }
  }

  check(files: ReadonlyMap<string, string>): void {
    const strange = [...files.keys()].filter((path) => !/(^|\/)[pc]\d$/.test(path));
    expect(
      strange.filter((path) => !path.endsWith('.new')),
      `seed ${SEED}`,
    ).toEqual([]);
    for (const told of [this.ours, this.theirs]) {
      for (const [path, text] of told) {
        if (text === UNKNOWN) continue;
        const is = files.get(path.slice(1));
        const wanted = typeof text === 'string' ? text.trim() : undefined;
        expect([path, is], `seed ${SEED}`).toEqual([path, wanted]);
      }
    }
  }
}

const listOf = (text: string): Map<string, string> =>
  new Map(
    text
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split('\t') as [string, string]),
  );

test(
  `after ${ROUNDS} rounds of changes and kills both sides have what they were told`,
  async () => {
    await using kubo = await KuboNode.start();
    const configuration = `[mounts]\nmfs = true\n[ipfs.kubo]\napi = "${kubo.api}"\n`;
    await using daemon = await TestDaemon.start({ configuration });
    const world = new World(kubo, daemon);
    await daemon.shell('mkdir -p mfs/a/b');
    await world.same();
    for (let round = 0; round < ROUNDS; round += 1) {
      await Promise.all([world.program(), world.client(), world.kill()]);
      world.check(await world.same());
    }
  },
  TEST_MS_MAX,
);
