/** The directories of the host that backends may lie in, as the configuration has them. */
import { mkdir, realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, sep } from 'node:path';
import { asOpError, OpError } from '../base/errors.ts';

/** Of the state directory, where nothing else was said. */
const OWN = 'local';

export class LocalRoots {
  readonly #roots: readonly string[];
  readonly #own: string | undefined;

  constructor(roots: readonly string[], stateDirectory: string) {
    this.#own = roots.length === 0 ? join(stateDirectory, OWN) : undefined;
    this.#roots = this.#own === undefined ? roots : [this.#own];
  }

  /** Made, when it is ours and not there. @throws OpError configuration. */
  async first(): Promise<string> {
    const [root = ''] = this.#roots;
    if (this.#own !== undefined) await mkdir(this.#own, { recursive: true, mode: 0o700 });
    return await directoryAt(root);
  }

  /**
   * @returns the directory without links, so that no link set later leads out.
   * @throws OpError policy: it lies in none of them; configuration: it is no directory.
   */
  async admit(root: string): Promise<string> {
    const outside = (): OpError =>
      new OpError('policy', 'open a directory of the host', {
        hint: 'config.root must lie under one of local.roots of the configuration',
      });
    if (!isAbsolute(root)) throw outside();
    const allowed = await Promise.all(
      this.#roots.map((one) => realpath(one).catch(() => undefined)),
    );
    // Of what lies outside nobody hears whether it is there.
    const real = await realpath(root).catch(() => undefined);
    const isWithin = (one: string | undefined) =>
      one !== undefined && (real === one || real?.startsWith(`${one}${sep}`) === true);
    if (!allowed.some(isWithin)) throw outside();
    return await directoryAt(root);
  }
}

async function directoryAt(path: string): Promise<string> {
  const op = 'open a directory of the host';
  try {
    const real = await realpath(path);
    if ((await stat(real)).isDirectory()) return real;
  } catch (error) {
    const { failure } = asOpError(error, op);
    throw new OpError('configuration', op, { cause: error, hint: `it cannot be used: ${failure}` });
  }
  throw new OpError('configuration', op, { hint: 'it is no directory' });
}
