/** Work while it goes on, and the end of work that was told to end, and may not. */
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { ABORT_GRACE_MS } from '../base/limits.ts';
import type { Ports } from './ports.ts';
import type { Tool } from './tool.ts';

/**
 * What the work comes to. Work that goes on after its signal is left, at last, to itself.
 * @throws OpError cancelled: it was left; what the work throws.
 */
export function settled<T>(
  work: Promise<T>,
  { signal, tool, clock }: { signal: AbortSignal; tool: Tool; clock: Clock },
): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = new AbortController();
    const leave = () => {
      const partial = tool.hints.readOnly ? undefined : { still_running: true };
      reject(new OpError('cancelled', tool.name, { details: { partial } }));
    };
    const onAbort = () => {
      if (tool.hints.readOnly) leave();
      else clock.sleep(ABORT_GRACE_MS, stop.signal).then(leave, () => {});
    };
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', onAbort);
      stop.abort();
    });
  });
}

/** What a call stores that may change something stays until it is done. */
export const storing = <T>(
  { changes }: Pick<Tool, 'changes'>,
  { holding }: Pick<Ports, 'holding'>,
  run: () => Promise<T>,
): Promise<T> => (changes === 'nothing' ? run() : holding.during(run));
