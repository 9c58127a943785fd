/**
 * How much garbage the daemon lets lie. Rows in the caches live long enough to leave V8's young
 * generation, and are garbage when others take their place: with V8's own rule, which lets a heap of
 * this size grow fourfold between two collections, most of what is resident would be that.
 */
import { setFlagsFromString } from 'node:v8';
import { HEAP_GROWTH_PERCENT_MAX, YOUNG_HEAP_MIB } from '../base/limits.ts';

/**
 * Options of the Node that shall be a daemon. What is young is collected while programs wait: of V8's own
 * 16 MiB that is up to some tens of milliseconds where most of it lives on, as while a tree is published.
 */
export const DAEMON_NODE_OPTIONS: readonly string[] = [`--max-semi-space-size=${YOUNG_HEAP_MIB}`];

/**
 * For this process, from the next collection on. A V8 that does not know the option says so on
 * standard error, and goes on as it was.
 */
export function boundHeap(): void {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT_MAX}`);
}
