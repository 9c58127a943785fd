/**
 * A daemon that a keeper starts, and that tells it nothing but nonsense: `packets.js ADDON COUNT SEED`.
 * The first one sends its packets and dies; the second one looks at what is held, gives all of it
 * back, and ends in order. Each says on standard output how many of the descriptors that the first
 * one sends the keeper has then.
 */
import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { NativeKeeping } from '../../src/base/native.ts';
import { Dice } from './dice.ts';

type Native = Pick<NativeKeeping, 'receiveMessage' | 'sendMessage'>;

const [addon = '', count = '', seed = ''] = process.argv.slice(2);
const native = createRequire(import.meta.url)(addon) as Native;
const dice = new Dice(Number(seed));
const SOCKET = 3;
const WAIT_MS = 10_000;
const PACKET_BYTES_MAX = 8192;
/** By then whatever is to be closed is closed. */
const ALIVES_MAX = 100_000;

/** `done` is left out: it ends the keeper, as it should. */
const WORDS = [
  ...['hold', 'hold', 'hold', 'note', 'drop', 'mounted', 'unmounted', 'ready', 'progress'],
  ...['alive', 'held', 'hello', 'end', '', 'HOLD'],
] as const;
const NAMES = [
  ...['a', 'b', 'fuse', 'x-1.y', '', ' ', 'A', 'a b', 'ü', '\0', 'n'.repeat(64), 'n'.repeat(8000)],
] as const;
const PLACES = ['/', '/nowhere', '/nowhere/\0', 'nowhere', '/x'.repeat(3000), ''] as const;

const say = (what: unknown) => process.stdout.write(`${JSON.stringify(what)}\n`);
/** What is sent; conversations with daemons that wait come and go. */
const SENT = '/dev/null';
const FDS = `/proc/${process.ppid}/fd`;
const descriptors = () => readdirSync(FDS).filter((fd) => targetOf(fd) === SENT).length;
const send = (bytes: Buffer | string, fd?: number) =>
  native.sendMessage(SOCKET, Buffer.from(bytes), fd, WAIT_MS);

function targetOf(fd: string): string | undefined {
  try {
    return readlinkSync(`${FDS}/${fd}`);
  } catch {
    return undefined; // It is closed by now.
  }
}

function handedOver(): { readonly hello: string; readonly names: readonly string[] } {
  const names: string[] = [];
  let hello = '';
  for (;;) {
    const message = native.receiveMessage(SOCKET, WAIT_MS);
    if (message === undefined) throw new Error('there is no keeper');
    if (message.descriptor !== undefined) closeSync(message.descriptor);
    const [line = ''] = Buffer.from(message.bytes).toString('latin1').split('\n');
    if (line.startsWith('hello ')) hello = line;
    if (line === 'end') return { hello, names };
    if (line.startsWith('held ')) names.push(line.slice('held '.length));
  }
}

function packet(): Buffer {
  const word = dice.pick(WORDS);
  const name = dice.chance(50) ? `n${dice.below(40)}` : dice.pick(NAMES);
  const rest = word === 'mounted' ? dice.pick(PLACES) : name;
  const data = dice.chance(30) ? `\n${'d'.repeat(dice.pick([0, 1, 100, 8000, 8180]))}` : '';
  const whole = Buffer.from(`${word} ${rest}${data}`).subarray(0, PACKET_BYTES_MAX);
  if (dice.chance(70)) return whole;
  if (dice.chance(30)) return dice.bytes(dice.between(1, dice.pick([1, 10, 100, 2000])));
  whole[dice.below(whole.length)] = dice.below(256);
  return whole;
}

function storm(): void {
  const before = descriptors();
  send('ready');
  for (let sent = 0; sent < Number(count); ) {
    const bytes = packet();
    if (/^done[ \n]|^done$/.test(bytes.toString('latin1'))) continue;
    const fd = dice.chance(40) ? openSync(SENT, 'r') : undefined;
    send(bytes, fd);
    if (fd !== undefined) closeSync(fd);
    sent += 1;
  }
  say({ before });
  process.kill(process.pid, 'SIGKILL');
}

function inquest(hello: string, names: readonly string[]): void {
  const full = descriptors();
  for (const name of names) send(`drop ${name}`);
  for (let left = ALIVES_MAX; left > 0 && descriptors() > full - names.length; left--)
    send('alive');
  say({ hello, held: names.length, after: descriptors() });
  send('unmounted');
  send('done');
}

const { hello, names } = handedOver();
if (hello.startsWith('hello 1 ')) storm();
else inquest(hello, names);
