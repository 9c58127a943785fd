/** The server of S3 that tests run against keeps what `test/services/versitygw.ts` promises of it. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { KEYS, S3Server } from '../services/versitygw.ts';

const WAIT = { timeout: 15_000, interval: 20 };
const isAlive = (pid: number) => existsSync(`/proc/${pid}`);

/** Where a process listens. */
async function listeningOf(pid: number): Promise<string[]> {
  const { stdout } = await promisify(execFile)('ss', ['-H', '-t', '-u', '-l', '-n', '-p']);
  return stdout
    .split('\n')
    .filter((line) => line.includes(`pid=${pid},`))
    .map((line) => line.trim().split(/\s+/)[4] ?? '');
}

test('it listens on loopback alone, keeps its address over a kill, and leaves nothing', async () => {
  const server = await S3Server.start();
  const { endpoint, directory, pid } = server;
  expect(await listeningOf(pid)).toEqual([endpoint.slice('http://'.length)]);
  expect(JSON.stringify([server.output, directory])).not.toContain(KEYS.secretAccessKey);
  await server.kill();
  await server.restart();
  expect(server.endpoint).toBe(endpoint);
  const last = server.pid;
  await server.close();
  expect([isAlive(pid), isAlive(last), existsSync(directory)]).toEqual([false, false, false]);
});

test('it does not outlive who started it', async () => {
  const module = fileURLToPath(new URL('../../dist/test/services/versitygw.js', import.meta.url));
  const script = `
    const { S3Server } = await import(${JSON.stringify(module)});
    const server = await S3Server.start();
    console.log(server.pid + ' ' + server.directory);
    setInterval(() => {}, 1000);
  `;
  const starter = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface({ input: starter.stdout }), 'line')) as [string];
  const [pid = 0, directory = ''] = [Number(line.split(' ')[0]), line.split(' ')[1]];
  expect(isAlive(pid)).toBe(true);
  starter.kill('SIGKILL');
  await expect.poll(() => isAlive(pid), WAIT).toBe(false);
  rmSync(directory, { recursive: true });
});
