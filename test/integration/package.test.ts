/** The package as npm would publish it, unpacked where no sources and no other build are. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { Scratch } from '../daemon/scratch.ts';
import { packedPackage } from './booted.ts';

const MODULES = fileURLToPath(new URL('../../node_modules', import.meta.url));

test('the package has all that its command needs, to its last module', () => {
  using scratch = new Scratch();
  const folder = scratch.path('kitfs');
  mkdirSync(folder);
  writeFileSync(scratch.path('kitfs.tgz'), packedPackage());
  const unpack = ['-xzf', scratch.path('kitfs.tgz'), '-C', folder, '--strip-components=1'];
  execFileSync('tar', unpack);
  // npm would install the dependencies into it.
  symlinkSync(MODULES, scratch.path('kitfs/node_modules'));
  const { bin, version } = JSON.parse(readFileSync(scratch.path('kitfs/package.json'), 'utf8')) as {
    readonly bin: { readonly kitfs: string };
    readonly version: string;
  };
  const main = scratch.path(`kitfs/${bin.kitfs}`);
  const told = execFileSync(process.execPath, [main, '--version'], { encoding: 'utf8' });
  expect(told.trim()).toBe(version);
  // And the files beside the bundle that it reads.
  const units = execFileSync(process.execPath, [main, 'systemd', 'print'], { encoding: 'utf8' });
  expect(units).toContain(`ExecStart=${process.execPath} --max-semi-space-size=4 ${main} mount`);
  const state = ['--state', scratch.path('state'), '--run', scratch.path('run')];
  const doctor = execFileSync(process.execPath, [main, 'doctor', ...state], { encoding: 'utf8' });
  expect(doctor).toMatch(/native addon +loads/);
});
