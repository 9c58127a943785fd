/** Programs in C, built where they are used. */
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const BUILD_MS_MAX = 60_000;

/** Builds what lies beside this file, one source or a folder of them, into a directory; answers its path. */
export function buildProgram(source: string, into: string): string {
  const path = fileURLToPath(new URL(source, import.meta.url));
  const sources = source.endsWith('.c')
    ? [path]
    : readdirSync(path)
        .filter((name) => name.endsWith('.c'))
        .map((name) => join(path, name));
  const program = join(into, source.replace(/\.c$/, ''));
  execFileSync('gcc', ['-O2', '-Wall', '-Wextra', '-pthread', '-o', program, ...sources], {
    timeout: BUILD_MS_MAX,
  });
  return program;
}
