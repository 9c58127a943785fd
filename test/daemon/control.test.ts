import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { CALLS_PER_CONNECTION_MAX, FRAME_BYTES_MAX } from '../../src/base/limits.ts';
import { loadNative } from '../../src/base/native.ts';
import { type ControlCall, type ControlMethods, ControlServer } from '../../src/daemon/control.ts';
import { ControlClient } from '../../src/daemon/control-client.ts';
import { RememberedLog } from '../fakes/log.ts';
import { CountingRandom } from '../fakes/random.ts';
import { ownerOnly } from '../mcp/host.ts';
import { Deferred } from './deferred.ts';
import { Scratch } from './scratch.ts';

/** Methods that a test decides about. */
class Methods {
  readonly signals: AbortSignal[] = [];
  /** Settled by a test; what `call` waits for. */
  readonly gate = new Deferred<unknown>();
  readonly started = new Deferred<void>();

  get table(): ControlMethods {
    const wait = (call: ControlCall) => {
      this.signals.push(call.signal);
      this.started.resolve();
      const aborted = once(call.signal, 'abort').then(() => {
        throw call.signal.reason;
      });
      return Promise.race([this.gate.promise, aborted]);
    };
    return {
      status: async (params, { peer, session }) => ({ params, uid: peer.uid, session }),
      stop: (_, call) => wait(call),
      tools: async () => {
        throw new OpError('not-ready', 'ask', { hint: 'wait', details: { kind: 'tool' } });
      },
      call: (_, call) => wait(call),
      sync_local: async () => {
        throw new TypeError('a bug');
      },
      car: async ({ count }, { part }) => {
        for (let n = 0; n < Number(count); n++) await part(n);
        return 'done';
      },
      snapshot_list: (_, call) => wait(call),
      snapshot_show: (_, call) => wait(call),
      snapshot_diff: (_, call) => wait(call),
      command: (_, call) => wait(call),
      reach: (_, call) => wait(call),
    };
  }
}

let scratch: Scratch;
let log: RememberedLog;
let methods: Methods;
let server: ControlServer;
beforeEach(async () => {
  scratch = new Scratch();
  log = new RememberedLog();
  methods = new Methods();
  server = new ControlServer({
    path: scratch.path('run', 'control.sock'),
    policy: ownerOnly,
    native: loadNative(),
    methods: methods.table,
    random: new CountingRandom(),
    log,
  });
  await server.listen();
});
afterEach(async () => {
  methods.gate.resolve('end');
  await server.close();
  scratch[Symbol.dispose]();
});

const path = () => scratch.path('run', 'control.sock');
const open = () => ControlClient.connect(path());

describe('a question', () => {
  test('is answered, with who asks as the kernel says it', async () => {
    await using client = await open();
    expect(await client.ask('status', { a: 1 })).toEqual({
      params: { a: 1 },
      uid: process.getuid?.(),
      session: expect.stringMatching(/^token-/),
    });
  });

  test('that fails gives the failure, its hint and its details', async () => {
    await using client = await open();
    await expect(client.ask('tools')).rejects.toMatchObject({
      failure: 'not-ready',
      op: 'ask',
      hint: 'wait',
      details: { kind: 'tool' },
    });
  });

  test('on which we have a bug says so to the asker and to the log, and nothing else', async () => {
    await using client = await open();
    await expect(client.ask('sync_local')).rejects.toMatchObject({ failure: 'internal' });
    expect(log.lines.filter(({ level }) => level === 'error')).toHaveLength(1);
    expect(await client.ask('status')).toBeDefined();
  });

  test('that this daemon does not know is refused', async () => {
    await using client = await open();
    const ask = client.ask('toString' as 'status');
    await expect(ask).rejects.toMatchObject({ failure: 'unsupported' });
  });

  test('is answered while another one is at work', async () => {
    await using client = await open();
    const slow = client.ask('call');
    expect(await client.ask('status')).toBeDefined();
    methods.gate.resolve('late');
    expect(await slow).toBe('late');
  });

  test('may be answered in parts, in order, and the asker decides the speed', async () => {
    await using client = await open();
    const parts: unknown[] = [];
    let atOnce = 0;
    const onPart = async (part: unknown) => {
      atOnce += 1;
      await new Promise((resolve) => setImmediate(resolve));
      parts.push(part);
      atOnce -= 1;
    };
    expect(await client.ask('car', { count: 500 }, { onPart })).toBe('done');
    await expect.poll(() => atOnce).toBe(0);
    expect(parts).toEqual(Array.from({ length: 500 }, (_, n) => n));
  });

  test('whose part the asker cannot take ends with that error', async () => {
    await using client = await open();
    const onPart = () => Promise.reject(new OpError('no-space', 'write'));
    const ask = client.ask('car', { count: 100_000 }, { onPart });
    await expect(ask).rejects.toMatchObject({ failure: 'no-space' });
  });
});

describe('a connection', () => {
  test('that closes takes its calls with it', async () => {
    const client = await open();
    const ask = client.ask('call');
    await methods.started.promise;
    await client[Symbol.asyncDispose]();
    await expect(ask).rejects.toMatchObject({ failure: 'not-running' });
    await expect.poll(() => methods.signals[0]?.aborted).toBe(true);
  });

  test('is closed by an asker who gives up', async () => {
    const client = await open();
    const stop = new AbortController();
    const ask = client.ask('call', {}, { signal: stop.signal });
    await methods.started.promise;
    stop.abort(new OpError('cancelled', 'ask'));
    await expect(ask).rejects.toMatchObject({ failure: 'cancelled' });
    await client.closed;
    await expect.poll(() => methods.signals[0]?.aborted).toBe(true);
    await expect(client.ask('status')).rejects.toMatchObject({ failure: 'cancelled' });
  });

  test('that sends what is no request is closed, and no other one', async () => {
    await using other = await open();
    for (const line of ['nonsense', '[]', '{"id":"a","method":"status"}', '{"id":1}', '7']) {
      const socket = connect(path());
      const closed = once(socket, 'close');
      socket.resume().write(`${line}\n`);
      await closed;
    }
    expect(await other.ask('status')).toBeDefined();
  });

  test('that sends a frame above the bound is closed, and no other one', async () => {
    await using other = await open();
    const socket = connect(path());
    socket.on('error', () => {}); // It is cut off while it writes.
    const closed = new Promise((resolve) => socket.once('close', resolve));
    const piece = Buffer.alloc(1024 * 1024, 'x');
    for (let sent = 0; sent <= FRAME_BYTES_MAX; sent += piece.length) socket.write(piece);
    await closed;
    expect(await other.ask('status')).toBeDefined();
  });

  test('has a bound on calls at work', async () => {
    await using client = await open();
    const slow = Array.from({ length: CALLS_PER_CONNECTION_MAX }, () => client.ask('call'));
    await expect(client.ask('status')).rejects.toMatchObject({ failure: 'rate-limited' });
    methods.gate.resolve(1);
    expect(await Promise.all(slow)).toHaveLength(CALLS_PER_CONNECTION_MAX);
    expect(await client.ask('status')).toBeDefined();
  });
});

describe('the end of the daemon', () => {
  test('ends calls, but not the stop that asked for it', async () => {
    await using client = await open();
    const call = client.ask('call');
    const stop = client.ask('stop');
    await expect.poll(() => methods.signals.length).toBe(2);
    await server.quiesce(new AbortController().signal);
    await expect(call).rejects.toMatchObject({ failure: 'cancelled' });
    await server.close();
    methods.gate.resolve('stopped');
    expect(await stop).toBe('stopped');
    await client.closed;
  });

  test('does not wait longer than it is told to', async () => {
    const stubborn = new ControlServer({
      path: scratch.path('run', 'other.sock'),
      policy: ownerOnly,
      native: loadNative(),
      methods: { ...methods.table, call: () => methods.gate.promise },
      random: new CountingRandom(),
      log,
    });
    await stubborn.listen();
    await using client = await ControlClient.connect(scratch.path('run', 'other.sock'));
    const call = client.ask('call');
    await client.ask('status');
    await stubborn.quiesce(AbortSignal.abort());
    methods.gate.resolve('in the end');
    expect(await call).toBe('in the end');
    await stubborn.close();
  });

  test('is seen by who asks afterwards', async () => {
    await using client = await open();
    await server.close();
    await client.closed;
    await expect(client.ask('status')).rejects.toMatchObject({ failure: 'not-running' });
    await expect(open()).rejects.toMatchObject({
      failure: 'not-running',
      hint: expect.stringContaining('kitfs mount'),
    });
  });
});
