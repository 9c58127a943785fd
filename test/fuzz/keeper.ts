/**
 * A storm of packets at a keeper, from the daemon that it started: it lives on, hands over to the
 * next one what it holds, no more than it may hold, and has closed all else.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** As `kHeldMax` of native/keeper_holds.h. */
const HELD_MAX = 16;

/** From `test/fuzz` and from `dist/test/fuzz`. */
function found(path: string): string {
  const places = [`../../${path}`, `../../../${path}`].map((place) => {
    return fileURLToPath(new URL(place, import.meta.url));
  });
  const place = places.find((candidate) => existsSync(candidate));
  if (place === undefined) throw new Error(`there is no ${path}`);
  return place;
}

interface Said {
  readonly before?: number;
  readonly hello?: string;
  readonly held?: number;
  readonly after?: number;
}

/** Sends `count` packets, made from `seed`; what went wrong. */
export async function packetStorm({ seed, count }: { seed: number; count: number }) {
  const addon = found('native/build/Release/kitfs.node');
  const daemon = found('dist/test/fuzz/packets.js');
  const command = [process.execPath, daemon, addon, String(count), String(seed)];
  const keeper = spawn(found('native/build/Release/kitfs-keeper'), ['--', ...command], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [said, complaints] = ['', ''];
  keeper.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  // It complains of every packet.
  keeper.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaints = (complaints + text).slice(-2000);
  });
  const [code, signal] = await once(keeper, 'close');
  const lines = said.split('\n').filter((line) => line !== '');
  const [first, second] = lines.map((line) => JSON.parse(line) as Said);
  const faults: string[] = [];
  if (code !== 0) faults.push(`the keeper ended with ${signal ?? code}`);
  if (second?.hello !== 'hello 2 signal 9') faults.push(`the next daemon heard ${second?.hello}`);
  if ((second?.held ?? 0) > HELD_MAX) faults.push(`${second?.held} are held`);
  if (second?.after !== first?.before) {
    faults.push(`${first?.before} descriptors became ${second?.after}`);
  }
  return { count, faults: faults.map((fault) => `${fault}\n${complaints}`) };
}
