/** Two kinds of wrong: what is asserted here is our bug; what can happen is `OpError`. */
import { AssertionError } from 'node:assert';

/**
 * A broken invariant is our bug: always checked, never caught as an operating error.
 * @throws AssertionError
 */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError({ message, stackStartFn: assert });
}

/** For the branch a union leaves empty: a new member must be decided here at compile time. */
export function unreachable(value: never, message: string): never {
  throw new AssertionError({ message: `${message}: ${String(value)}`, stackStartFn: unreachable });
}
