/** Whole programs at work: git, tar and its readers, npm. What they work on is made once, off the mount. */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Commands } from './commands.ts';
import type { Sample } from './table.ts';

export const GIT_FILES = 4000;
export const GIT_CHANGED = 1000;
export const TAR_FILES = 15_000;
const PACKAGES = 30;
const PACKAGE_FILES = 100;
export const NPM_FILES = PACKAGES * PACKAGE_FILES;

const IDENTITY = ['-c', 'user.name=bench', '-c', 'user.email=bench@localhost'];
const NPM_CI = ['ci', '--offline', '--no-audit', '--no-fund', '--cache'];

export class Programs {
  readonly #commands: Commands;
  readonly #repository: string;
  readonly #archive: string;
  readonly #application: string;
  readonly #cache: string;

  constructor(base: string, commands: Commands) {
    const place = join(base, 'programs');
    this.#commands = commands;
    this.#repository = join(place, 'repository');
    this.#archive = join(place, 'small.tar');
    this.#application = join(place, 'application');
    this.#cache = join(place, 'npm-cache');
    mkdirSync(place);
  }

  #git(directory: string, ...args: readonly string[]): Promise<number> {
    return this.#commands.seconds(directory, 'git', ...IDENTITY, ...args);
  }

  async prepareGit(): Promise<void> {
    const repository = this.#repository;
    const directoryOf = (i: number) => join(repository, `d${i % 100}`, `e${i % 7}`);
    for (let i = 0; i < GIT_FILES; i++) {
      mkdirSync(directoryOf(i), { recursive: true });
      writeFileSync(join(directoryOf(i), `f${i}.txt`), `file ${i}\n`.repeat(50 + (i % 400)));
    }
    await this.#git(repository, 'init', '-q', '-b', 'main');
    await this.#git(repository, 'add', '-A');
    await this.#git(repository, 'commit', '-q', '-m', 'one');
    await this.#git(repository, 'checkout', '-q', '-b', 'other');
    for (let i = 0; i < GIT_CHANGED; i++) {
      writeFileSync(join(directoryOf(i), `f${i}.txt`), `changed ${i}\n`.repeat(60));
    }
    await this.#git(repository, 'commit', '-q', '-a', '-m', 'two');
    await this.#git(repository, 'checkout', '-q', 'main');
  }

  async git(directory: string): Promise<Sample> {
    const clone = join(directory, 'clone');
    const sample: Record<string, number> = {};
    const cloned = ['clone', '-q', '--no-hardlinks', this.#repository, clone];
    sample['git-clone'] = await this.#git(directory, ...cloned);
    sample['git-status-first'] = await this.#git(clone, 'status', '--short');
    sample['git-status'] = await this.#git(clone, 'status', '--short');
    sample['git-grep'] = await this.#git(clone, 'grep', '-c', 'file 39');
    sample['git-checkout'] = await this.#git(clone, 'checkout', '-q', '-b', 'o', 'origin/other');
    sample['git-fsck'] = await this.#git(clone, 'fsck', '--no-progress');
    sample['git-rm'] = await this.#commands.seconds(directory, 'rm', '-rf', clone);
    return sample;
  }

  async prepareTar(): Promise<void> {
    const source = `${this.#archive}.d`;
    for (let i = 0; i < TAR_FILES; i++) {
      const directory = join(source, `d${i % 300}`);
      if (i < 300) mkdirSync(directory, { recursive: true });
      writeFileSync(join(directory, `f${i}`), `${i} `.repeat(40 + (i % 1000)));
    }
    await this.#commands.run(source, 'tar', 'cf', this.#archive, '.');
    await this.#commands.run('/', 'rm', '-rf', source);
  }

  async tar(directory: string): Promise<Sample> {
    const sample: Record<string, number> = {};
    const script = async (name: string, text: string) => {
      sample[name] = await this.#commands.shell(directory, text);
    };
    sample['tar-extract'] = await this.#commands.seconds(directory, 'tar', 'xf', this.#archive);
    await script('tar-cat', 'find . -type f -exec cat {} + > /dev/null');
    await script('tar-find', 'find . > /dev/null');
    await script('tar-du', 'du -s . > /dev/null');
    await script('tar-rm', 'rm -rf ./*');
    return sample;
  }

  /** An application whose dependencies are archives on the disk, and a cache that has seen them. */
  async prepareNpm(): Promise<void> {
    const base = this.#application;
    const dependencies: Record<string, string> = {};
    const locked: Record<string, object> = {};
    for (let p = 0; p < PACKAGES; p++) {
      const [name, version, source] = [
        `bench-${p}`,
        '1.0.0',
        join(base, 'source', `${p}`),
      ] as const;
      mkdirSync(join(source, 'package', 'lib'), { recursive: true });
      writeFileSync(join(source, 'package', 'package.json'), JSON.stringify({ name, version }));
      for (let i = 0; i < PACKAGE_FILES; i++) {
        const text = `module.exports = ${p * PACKAGE_FILES + i};\n`.repeat(1 + (i % 90));
        writeFileSync(join(source, 'package', 'lib', `f${i}.js`), text);
      }
      const archive = join(base, `${name}.tgz`);
      await this.#commands.run(source, 'tar', 'czf', archive, 'package');
      const digest = createHash('sha512').update(readFileSync(archive)).digest('base64');
      const resolved = `file:${archive}`;
      dependencies[name] = resolved;
      locked[`node_modules/${name}`] = { version, resolved, integrity: `sha512-${digest}` };
    }
    const root = { name: 'application', version: '1.0.0', dependencies };
    const packages = { '': root, ...locked };
    const lock = { ...root, lockfileVersion: 3, requires: true, packages };
    writeFileSync(join(base, 'package.json'), JSON.stringify(root));
    writeFileSync(join(base, 'package-lock.json'), JSON.stringify(lock));
    await this.#commands.run(base, 'npm', ...NPM_CI, this.#cache);
    await this.#commands.run(base, 'rm', '-rf', 'node_modules', 'source');
  }

  async npm(directory: string): Promise<Sample> {
    const manifests = ['package.json', 'package-lock.json'];
    const from = manifests.map((name) => join(this.#application, name));
    await this.#commands.run(directory, 'cp', ...from, '.');
    const seconds = await this.#commands.seconds(directory, 'npm', ...NPM_CI, this.#cache);
    return { 'npm-ci': seconds };
  }
}
