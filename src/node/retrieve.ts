/** Content from sources that need not be trusted, asked one after the other until all of it is here. */
import type { BlocksOptions, TrustlessSource, Wanted } from '../backend/backend.ts';
import { type Failure, OpError } from '../base/errors.ts';
import { type CompletePart, type Keep, takeComplete } from '../content/content.ts';

export interface Retrieved extends CompletePart {
  /** Who gave all of it. */
  readonly source: TrustlessSource;
}

/** What is a source's own fault, so that another one may do better. */
const PASSED_OVER: ReadonlySet<Failure> = new Set([
  'content-missing',
  'not-running',
  'response-invalid',
  'integrity',
  'credentials-invalid',
  'version-unsupported',
  'rate-limited',
  'api-error',
  'timeout',
]);

/**
 * Blocks are kept as they come: of a source that could not give all of it too, and of all sources
 * when none could. They are whole and right each, and nothing says that they are more.
 * @throws OpError not-configured: there is no source; not-found, not-directory: the path leads
 *   nowhere, as verified blocks say; with details {partial} what the first source said that did not
 *   only lack it, else content-missing; what `keep` throws; the signal's reason.
 */
export async function retrieve(
  sources: readonly TrustlessSource[],
  wanted: Wanted,
  keep: Keep,
  options: BlocksOptions,
): Promise<Retrieved> {
  const refusals: OpError[] = [];
  for (const source of sources) {
    try {
      const blocks = source.blocks(wanted, options);
      return { ...(await takeComplete(wanted, blocks, keep, options.signal)), source };
    } catch (error) {
      options.signal.throwIfAborted();
      if (!(error instanceof OpError) || !PASSED_OVER.has(error.failure)) throw error;
      refusals.push(error);
    }
  }
  throw noneHadIt(sources, refusals, `fetch ${wanted.root}`);
}

function noneHadIt(
  sources: readonly TrustlessSource[],
  refusals: readonly OpError[],
  op: string,
): OpError {
  if (sources.length === 0) {
    return new OpError('not-configured', op, {
      hint: 'configure Lassie, or a trustless gateway',
      details: { service: 'lassie' },
    });
  }
  const cause = refusals.find(({ failure }) => failure !== 'content-missing') ?? refusals[0];
  const asked = sources.map(({ kind, endpoint }, at) => {
    return { engine: kind, endpoint, failure: refusals[at]?.failure };
  });
  return new OpError(cause?.failure ?? 'content-missing', op, {
    cause: cause?.cause,
    details: { ...cause?.details, partial: { asked } },
  });
}
