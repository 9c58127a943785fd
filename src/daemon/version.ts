/** The version of kitfs, as package.json has it. */
import { readFileSync } from 'node:fs';
import { codeOf } from '../base/errors.ts';

/** From `dist/src/daemon` and from `src/daemon`. */
const PLACES = ['../../../package.json', '../../package.json'];

export function packageVersion(): string {
  for (const place of PLACES) {
    try {
      const text = readFileSync(new URL(place, import.meta.url), 'utf8');
      const { name, version } = JSON.parse(text) as { name?: string; version?: string };
      if (name === 'kitfs' && version !== undefined) return version;
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
    }
  }
  throw new Error('package.json is not where it belongs');
}
