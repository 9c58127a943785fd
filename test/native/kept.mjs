/**
 * A daemon that a keeper starts, or, with --connect PATH, that connects to one. Says on standard output what it was
 * handed, and does what it reads on standard input: a JSON array a line.
 */
import { spawn, spawnSync } from 'node:child_process';
import { openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const inherited = readdirSync('/proc/self/fd').flatMap((fd) => {
  try {
    return [readlinkSync(`/proc/self/fd/${fd}`)];
  } catch {
    return []; // The directory that was read.
  }
});
const [addon, option, path] = process.argv.slice(2);
const native = createRequire(import.meta.url)(addon);
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const socket = option === '--connect' ? native.connectSeqpacket(path) : 3;

function handedOver() {
  const held = {};
  for (;;) {
    const { bytes, descriptor } = native.receiveMessage(socket, 60_000);
    const [line, ...rest] = bytes.toString().split('\n');
    const [word, ...more] = line.split(' ');
    if (word === 'hello') held.hello = line;
    if (word === 'busy') return { busy: true };
    if (word === 'end') return held;
    if (word !== 'held') continue;
    const place = readlinkSync(`/proc/self/fd/${descriptor}`);
    held[more.join(' ')] = { data: rest.join('\n'), place };
  }
}

/** As the mount table says it, where space and newline are octal. */
function deviceAt(dir) {
  const place = dir.replaceAll(' ', '\\040').replaceAll('\n', '\\012');
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return lines.map((line) => line.split(' ')).findLast((words) => words[4] === place)[2];
}

const commands = {
  send: (text) => native.sendMessage(socket, Buffer.from(text)),
  hold: (name, data, file) =>
    native.sendMessage(socket, Buffer.from(`hold ${name}\n${data}`), openSync(file, 'r')),
  // The number of another process that has the connection open, when one is wanted.
  mount: (dir, kind, isShared = false) => {
    const isRoot = process.getuid() === 0;
    const fd = isRoot
      ? native.openFuseDevice()
      : native.mountWithHelper('/usr/bin/fusermount3', dir, `subtype=${kind}`);
    if (isRoot) native.mountFuse(fd, dir, { source: 'kitfs', fsType: `fuse.${kind}` });
    native.sendMessage(socket, Buffer.from('hold fuse\n'), fd);
    native.sendMessage(socket, Buffer.from(`mounted ${deviceAt(dir)}\n${dir}`));
    if (!isShared) return undefined;
    return spawn('sleep', ['60'], { stdio: ['ignore', 'ignore', 'ignore', fd] }).pid;
  },
  rest: (ms) => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms),
  hear: (...names) => {
    for (const name of names) process.on(name, () => say({ heard: name }));
  },
  // Also when nobody can tell it anything any more.
  stay: () => void setInterval(() => {}, 60_000),
  die: (signal) => process.kill(process.pid, signal),
  exit: (code) => process.exit(code),
  hang: () => {
    for (;;);
  },
  // What a program that this one starts can see.
  seen: () => spawnSync('/bin/ls', ['/proc/self/fd'], { encoding: 'utf8' }).stdout.trim(),
};

const ids = readFileSync('/proc/self/stat', 'latin1').split(') ')[1].split(' ');
say({ ...handedOver(), pid: process.pid, group: Number(ids[2]), inherited });
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = JSON.parse(line);
  say({ done: name, result: commands[name](...args) });
}
