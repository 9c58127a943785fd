/** Figures without a native counterpart: tool calls, coherence, start, memory. */
import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { ListToolsResultSchema } from '@modelcontextprotocol/sdk/types.js';
import type { Mounted } from './mounted.ts';
import { type Figure, median } from './table.ts';

const CALLS = 2000;
const CLIENTS = 8;

const percentile = (values: readonly number[], part: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
};

const figure = (name: string, title: string, value: string, bar: string): Figure => ({
  name,
  title,
  value,
  bar,
});

const megabytes = (bytes: number): string => `${Math.round(bytes / 1024 / 1024)} MB`;

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

async function callFigures(mounted: Mounted): Promise<Figure[]> {
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
    figure('tool-call', 'tool call, p50', ms(median(alone)), '≤ 0.2 ms'),
    figure('tool-call-8', 'tool call, 8 clients, p99', ms(percentile(together, 0.99)), '≤ 10 ms'),
    figure('tools-list', '`tools/list`, p50', ms(median(lists)), '≤ 10 ms'),
    figure(
      'tool-seen',
      'tool writes, then a program on the mount has read it, p50; p99',
      `${ms(median(seen))}; ${ms(percentile(seen, 0.99))}`,
      'p99 < 1 ms',
    ),
  ];
}

/** What is not a matter of files; the names of the figures say whether they are wanted. */
export async function toolFigures(mounted: Mounted, only: RegExp): Promise<Figure[]> {
  const wanted = (name: string) => only.test(name);
  const figures: Figure[] = [];
  const after = megabytes(mounted.residentBytes());
  if (['tool-call', 'tool-call-8', 'tools-list', 'tool-seen'].some(wanted)) {
    figures.push(...(await callFigures(mounted)));
  }
  if (['ready', 'memory-after', 'memory-idle'].some(wanted)) {
    const readyMs = await mounted.startAgain();
    const idle = megabytes(mounted.residentBytes());
    figures.push(
      figure('ready', 'ready after a start on the state of this run', ms(readyMs), '< 1 s'),
      figure('memory-idle', 'resident memory, idle after that', idle, '≤ 120 MB'),
      figure('memory-after', 'resident memory after the rows above', after, '≤ 400 MB'),
    );
  }
  return figures.filter(({ name }) => wanted(name));
}
