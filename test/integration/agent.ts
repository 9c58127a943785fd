/** The official SDK's client on a daemon's socket. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import { SystemClock } from '../../src/base/clock.ts';
import { SocketTransport } from '../../src/mcp/transport.ts';

export async function connectAgent(path: string): Promise<Client> {
  const socket = connect({ path });
  await once(socket, 'connect');
  socket.pause();
  const transport = new SocketTransport(socket, {
    clock: new SystemClock(),
    gate: (message) => ({ pass: message as never }),
  });
  const client = new Client({ name: 'test', version: '1.0.0' });
  await client.connect(transport as unknown as Transport);
  return client;
}

/** `data` of a record tool's success. Throws with the envelope on an error. */
export async function call(
  client: Client,
  name: string,
  args: Readonly<Record<string, unknown>>,
): Promise<Record<string, unknown>> {
  const result = (await client.callTool({ name, arguments: { ...args } })) as CallToolResult;
  if (result.isError === true) throw new Error(JSON.stringify(result.structuredContent));
  return (result.structuredContent?.['data'] ?? {}) as Record<string, unknown>;
}

/** The text a content tool answers with. */
export async function textOf(
  client: Client,
  name: string,
  args: Readonly<Record<string, unknown>>,
): Promise<string> {
  const result = (await client.callTool({ name, arguments: { ...args } })) as CallToolResult;
  if (result.isError === true) throw new Error(JSON.stringify(result.structuredContent));
  const [, payload] = result.content;
  return payload?.type === 'text' ? payload.text : '';
}
