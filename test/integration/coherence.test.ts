/** Mount and tools are one state: what one did the other sees at once, without any time to live. */
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { call, connectAgent, textOf } from './agent.ts';
import { TestDaemon } from './daemon.ts';

const ALTERNATIONS = 10_000;

/** Executes one JSON line at a time: [verb, path, text]. Answers with one line. */
const PROGRAM = `
const fs = require('fs');
require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const [verb, path, text] = JSON.parse(line);
  let answer = '';
  try {
    if (verb === 'read') answer = fs.readFileSync(path, 'utf8');
    if (verb === 'size') answer = String(fs.statSync(path).size);
    if (verb === 'write') fs.writeFileSync(path, text);
    if (verb === 'list') answer = fs.readdirSync(path).sort().join(',');
    if (verb === 'unlink') fs.unlinkSync(path);
  } catch (error) { answer = error.code; }
  process.stdout.write(JSON.stringify(answer) + '\\n');
});`;

test('10,000 alternations of writing on one face and reading on the other: none is stale', async () => {
  await using daemon = await TestDaemon.start();
  const agent = await connectAgent(daemon.mcpSocket);
  const program = daemon.spawn(process.execPath, ['-e', PROGRAM], { in: 'ipfs' });
  const { stdin, stdout } = program;
  if (stdin === null || stdout === null) throw new Error('the program has no streams');
  const answers = createInterface({ input: stdout })[Symbol.asyncIterator]();
  const ask = async (...words: string[]): Promise<string> => {
    stdin.write(`${JSON.stringify(words)}\n`);
    return JSON.parse((await answers.next()).value as string) as string;
  };
  let stale = 0;
  for (let i = 0; i < ALTERNATIONS / 2; i++) {
    const name = `f${i % 7}`;
    const path = `/ipfs/${name}`;
    const text = `from the tool ${i}${'.'.repeat(i % 50)}`;
    await call(agent, 'vfs_write', { path, content: text });
    if ((await ask('size', name)) !== String(text.length)) stale += 1;
    if ((await ask('read', name)) !== text) stale += 1;
    await ask('write', name, `from the mount ${i}`);
    if ((await textOf(agent, 'vfs_read', { path })) !== `from the mount ${i}`) stale += 1;
    if (i % 10 === 0) {
      await call(agent, 'vfs_rm', { path });
      if ((await ask('read', name)) !== 'ENOENT') stale += 1;
      const entries = (await ask('list', '.')).split(',');
      if (entries.includes(name)) stale += 1;
    }
  }
  expect(stale).toBe(0);
  await agent.close();
});
