/**
 * A file system with nothing in it, served through the addon: the other process of mount.test.ts. It mounts itself on
 * the directory that its second argument names, says so, and obeys messages. Plain JavaScript, because a child process
 * does not pass through the test runner.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const [, , addon, dir] = process.argv;
const native = createRequire(import.meta.url)(addon);
const isRoot = process.getuid() === 0;
const HELPER = '/usr/bin/fusermount3';

// include/uapi/linux/fuse.h
const [LOOKUP, FORGET, GETATTR, INIT, INTERRUPT, BATCH_FORGET] = [1, 2, 3, 26, 36, 42];
const [IN_HEADER, OUT_HEADER] = [40, 16];
const INIT_EXT = 1 << 30;
const PASSTHROUGH = 1 << 5; // Of the upper 32 flags.
const NOTIFY_INVAL_INODE = 2;
const ENOENT = 2;
const ENOSYS = 38;

let passthrough = false;
let largestCall = 0;

function message(unique, error, body) {
  const bytes = Buffer.alloc(OUT_HEADER + body.length);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeInt32LE(error, 4);
  bytes.writeBigUInt64LE(unique, 8);
  body.copy(bytes, OUT_HEADER);
  return bytes;
}

function initReply(request) {
  passthrough = isRoot && (request.readUInt32LE(IN_HEADER + 16) & PASSTHROUGH) !== 0;
  const body = Buffer.alloc(64);
  body.writeUInt32LE(7, 0);
  body.writeUInt32LE(Math.min(45, request.readUInt32LE(IN_HEADER + 4)), 4);
  body.writeUInt32LE(131_072, 20); // max_write
  if (passthrough) {
    body.writeUInt32LE(INIT_EXT, 12);
    body.writeUInt32LE(PASSTHROUGH, 32);
    body.writeUInt32LE(1, 36); // max_stack_depth
  }
  return body;
}

function rootAttributes() {
  const body = Buffer.alloc(104); // Valid for no time at all.
  body.writeBigUInt64LE(1n, 16);
  body.writeUInt32LE(0o040755, 76);
  body.writeUInt32LE(2, 80);
  body.writeUInt32LE(process.getuid(), 84);
  body.writeUInt32LE(process.getgid(), 88);
  return body;
}

function answer(request) {
  const opcode = request.readUInt32LE(4);
  const unique = request.readBigUInt64LE(8);
  if (opcode === FORGET || opcode === BATCH_FORGET || opcode === INTERRUPT) return 0;
  if (opcode === GETATTR) {
    const whole = message(unique, 0, rootAttributes());
    const body = whole.subarray(OUT_HEADER);
    return channel.replyWithBytes(whole, 0, OUT_HEADER, body, 0, body.length);
  }
  if (opcode === LOOKUP) {
    const reply = message(unique, -ENOENT, Buffer.alloc(0));
    return channel.replyMany(reply, new Uint32Array([0, reply.length]), 1);
  }
  const body = opcode === INIT ? initReply(request) : Buffer.alloc(0);
  const reply = message(unique, opcode === INIT ? 0 : -ENOSYS, body);
  return channel.reply(reply, 0, reply.length);
}

function onRequests(count) {
  largestCall = Math.max(largestCall, count);
  for (let i = 0; i < count; i++) {
    const [offset, length] = channel.spans.subarray(2 * i);
    const failed = answer(channel.arena.subarray(offset, offset + length));
    if (failed !== 0 && failed !== ENOENT) process.send({ failed });
  }
}

async function invalidate(inode) {
  const body = Buffer.alloc(24);
  body.writeBigUInt64LE(BigInt(inode), 0);
  return notifier.send(message(0n, NOTIFY_INVAL_INODE, body));
}

/** What registering a file, ending that, and ending it once more come to. */
function back() {
  const own = mkdtempSync(join(tmpdir(), 'kitfs-native-'));
  const file = openSync(join(own, 'file'), 'w+');
  try {
    const id = native.backingOpen(fd, file);
    native.backingClose(fd, id);
    try {
      native.backingClose(fd, id);
    } catch (error) {
      return { passthrough, id, again: error.code };
    }
    return { passthrough, id };
  } catch (error) {
    return { passthrough, code: error.code };
  } finally {
    closeSync(file);
    rmSync(own, { recursive: true });
  }
}

async function unmount(options) {
  if (isRoot) return native.unmount(dir, options);
  const flags = options.lazy ? ['-u', '-z'] : ['-u'];
  execFileSync(HELPER, [...flags, dir], { stdio: 'pipe', timeout: 5000 });
}

const COMMANDS = {
  unmount,
  invalidate,
  back,
  inherited: () => execFileSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' }),
};

function mount() {
  if (!isRoot)
    return native.mountWithHelper(HELPER, dir, 'nosuid,nodev,fsname=a source,subtype=kitfs');
  const opened = native.openFuseDevice();
  native.mountFuse(opened, dir, {
    source: 'a source',
    fsType: 'fuse.kitfs',
    nosuid: true,
    nodev: true,
    defaultPermissions: true,
    maxReadBytes: 65_536,
  });
  return opened;
}

const fd = mount();
const channel = native.openChannel(
  fd,
  { requestBytesMax: 131_072 + 4096, arenaBytes: 1 << 20, requestsMax: 64 },
  onRequests,
  (ended) => process.send({ ended }),
);
const notifier = native.openNotifier(fd, {
  queueMax: 16,
  program: join(dirname(addon), 'kitfs-notify'),
});

process.on('message', async ({ command, argument }) => {
  try {
    process.send({ done: command, result: await COMMANDS[command](argument) });
  } catch (error) {
    process.send({ done: command, code: error.code ?? error.message });
  }
});
process.send({ mounted: true });
