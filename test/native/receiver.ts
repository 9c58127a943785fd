/** A manager of services, as far as it hears what it is told. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { expect } from 'vitest';

/** Binds a datagram socket, says so, and prints each message it is told to read. Node has no such sockets. */
const RECEIVER = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace('@', '\\0', 1) if sys.argv[1][0] == '@' else sys.argv[1])
print('bound', flush=True)
for line in sys.stdin:
    print(json.dumps(s.recv(65536).decode()), flush=True)
`;

/** Hears at a path, or at `@` and an abstract name. */
export async function receiver(name: string) {
  const child = spawn('python3', ['-c', RECEIVER, name], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  expect((await lines.next()).value).toBe('bound');
  return {
    async next(): Promise<unknown> {
      child.stdin.write('\n');
      return JSON.parse((await lines.next()).value as string);
    },
    async [Symbol.asyncDispose](): Promise<void> {
      const ended = once(child, 'exit');
      child.stdin.end();
      await ended;
    },
  };
}
