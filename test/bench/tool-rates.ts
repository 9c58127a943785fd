/** Figures without a native counterpart: tool calls, coherence, start, memory. */
import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { ListToolsResultSchema } from '@modelcontextprotocol/sdk/types.js';
import type { Mounted } from './mounted.ts';
import { type Figure, median } from './table.ts';

/** Seconds per operation, by name. */
export type Sample = Readonly<Record<string, number>>;

const CALLS = 2000;
const CLIENTS = 8;

const percentile = (values: readonly number[], part: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
};

const ms = (value: number): string => `${value.toPrecision(3)} ms`;

async function timed(count: number, call: (index: number) => Promise<unknown>): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    await call(i);
    times.push(performance.now() - start);
  }
  return times;
}

export async function callRows(mounted: Mounted): Promise<Figure[]> {
  const clients = await Promise.all(Array.from({ length: CLIENTS }, () => mounted.agent()));
  const [first] = clients;
  if (first === undefined) throw new Error('no client');
  const stat = (client: Client) => () =>
    client.callTool({ name: 'vfs_stat', arguments: { path: '/ipfs' } });
  const alone = await timed(CALLS, stat(first));
  const together = (
    await Promise.all(clients.map((client) => timed(CALLS / CLIENTS, stat(client))))
  ).flat();
  // Not listTools(): the SDK's client compiles every output schema each time, which is not ours.
  const lists = await timed(50, () =>
    first.request({ method: 'tools/list' }, ListToolsResultSchema),
  );
  const seen = await mounted.writeToSeen(first, 500);
  await Promise.all(clients.map((client) => client.close()));
  return [
    { title: 'tool call, p50', value: ms(median(alone)), bar: '≤ 0.2 ms' },
    { title: 'tool call, 8 clients, p99', value: ms(percentile(together, 0.99)), bar: '≤ 10 ms' },
    { title: '`tools/list`, p50', value: ms(median(lists)), bar: '≤ 10 ms' },
    {
      title: 'tool writes, then a program on the mount has read it, p50',
      value: ms(median(seen)),
      bar: '',
    },
  ];
}

export async function readyRow(mounted: Mounted): Promise<Figure> {
  const { readyMs, idleBytes } = await mounted.startAgain();
  const value = `${ms(readyMs)}; ${Math.round(idleBytes / 1024 / 1024)} MB`;
  return { title: 'ready after start; resident memory then', value, bar: '< 1 s; ≤ 120 MB' };
}
