/** What the command line may ask of a daemon. Everything else goes through `call`, as a tool. */
import { z } from 'zod';
import { OpError } from '../base/errors.ts';
import type { Ino } from '../base/ids.ts';
import { RUNGS } from '../base/rungs.ts';
import { turn } from '../base/turn.ts';
import { exportCar, parseCid } from '../content/content.ts';
import type { JsonObject } from '../mcp/frames.ts';
import { UNLIMITED } from '../tools/ceiling.ts';
import { ENVELOPE_META } from '../tools/envelope.ts';
import type { CallResult, Envelope, Session, Tool } from '../tools/tools.ts';
import { isOwner } from './access.ts';
import type { ControlCall, ControlMethods } from './control.ts';
import type { CoreParts } from './core.ts';
import type { StopRequest } from './serve.ts';
import { syncEverything } from './stable.ts';
import type { Status } from './status.ts';
import { withoutRoots } from './status-sync.ts';
import type { ToolParts } from './toolbox.ts';
import { packageVersion } from './version.ts';

export interface ControlMethodsOptions {
  /** @throws OpError not-ready. */
  readonly parts: () => { readonly core: CoreParts; readonly tools: ToolParts };
  readonly status: () => Status;
  readonly stop: (request: StopRequest) => Promise<void>;
  /** Whose daemon it is. */
  readonly owner: number;
  /** Whether agents need a token: then others than the owner are served by their sockets alone. */
  readonly isTokenRequired: boolean;
}

/** Snapshots of one listing. */
const SNAPSHOTS_MAX = 10_000;

const nothing = z.strictObject({});
const stopParams = z.strictObject({ force: z.boolean().default(false) });
const callParams = z.strictObject({
  tool: z.string(),
  arguments: z.unknown(),
  key: z.string().optional(),
});
const commandParams = callParams.omit({ tool: true }).extend({ command: z.string() });
const carParams = z.strictObject({ cid: z.string() });
type Asked = Omit<z.output<typeof callParams>, 'tool'>;
const reachParams = z.strictObject({ inode: z.int(), rung: z.enum(RUNGS) });
const listParams = z.strictObject({ path: z.string(), limit: z.int().min(1).max(SNAPSHOTS_MAX) });
const showParams = z.strictObject({ at: z.string() });
const diffParams = z.strictObject({ from: z.string().optional(), to: z.string() });

export function controlMethods(options: ControlMethodsOptions): ControlMethods {
  const { parts, status, stop, owner, isTokenRequired } = options;
  const versioned = { ...options, version: packageVersion() };
  /** What has no tool is not had without a token either. */
  const demandNoToken = ({ peer }: ControlCall, method: string) => {
    if (!isTokenRequired || isOwner(peer, owner)) return;
    throw new OpError('not-allowed', method, {
      hint: 'a token is required here: use kitfs mcp --token',
    });
  };
  /** Which snapshot a path has last is told to the owner alone, see `snapshots.ts`. */
  const demandKnown = (call: ControlCall, method: string, names: readonly string[]) => {
    demandNoToken(call, method);
    if (!names.some((name) => name.startsWith('/')) || isOwner(call.peer, owner)) return;
    throw new OpError('not-permitted', method, {
      hint: 'only root and who runs the daemon may name a path here; name a CID',
    });
  };
  return {
    status: async (params, { peer }) => {
      demand(nothing, params, 'status');
      return isOwner(peer, owner) ? status() : withoutRoots(status());
    },
    stop: async (params, { peer }) => {
      const { force } = demand(stopParams, params, 'stop');
      if (!isOwner(peer, owner)) {
        throw new OpError('not-permitted', 'stop kitfs', {
          hint: 'only root and who runs the daemon may',
        });
      }
      await stop({ force });
      return {};
    },
    tools: async (params) => {
      demand(nothing, params, 'tools');
      return parts().tools.registry.list(UNLIMITED);
    },
    call: async (params, call) => {
      const { tool, ...asked } = demand(callParams, params, 'call');
      return run(versioned, [tool, parts().tools.registry.get(tool)], asked, call);
    },
    command: async (params, call) => {
      const { command, ...asked } = demand(commandParams, params, 'command');
      return run(versioned, [command, parts().tools.registry.commands.get(command)], asked, call);
    },
    sync_local: async (params, call) => {
      demand(nothing, params, 'sync_local');
      demandNoToken(call, 'sync_local');
      return { files: await syncEverything(parts().core, call.signal) };
    },
    reach: async (params, call) => {
      const { inode, rung } = demand(reachParams, params, 'reach');
      demandNoToken(call, 'reach');
      return { hindrance: parts().tools.hindrance(inode as Ino, rung) };
    },
    car: async (params, call) => {
      const { cid } = demand(carParams, params, 'car');
      demandNoToken(call, `export ${cid}`);
      return writeCar(parts().core, parseCid(cid), call);
    },
    ...snapshotMethods(parts, demandKnown),
  };
}

/** `demandKnown` refuses names that the caller may not give. */
function snapshotMethods(
  parts: ControlMethodsOptions['parts'],
  demandKnown: (call: ControlCall, method: string, names: readonly string[]) => void,
): Pick<ControlMethods, 'snapshot_list' | 'snapshot_show' | 'snapshot_diff'> {
  return {
    snapshot_list: async (params, call) => {
      const { path, limit } = demand(listParams, params, 'snapshot_list');
      demandKnown(call, 'snapshot_list', [path]);
      const { listSnapshots } = await import('./snapshots.ts');
      return listSnapshots(parts().core, path, limit, call.signal);
    },
    snapshot_show: async (params, call) => {
      const { at } = demand(showParams, params, 'snapshot_show');
      demandKnown(call, 'snapshot_show', [at]);
      const { showSnapshot } = await import('./snapshots.ts');
      return showSnapshot(parts().core, at, call.signal);
    },
    snapshot_diff: async (params, call) => {
      const named = demand(diffParams, params, 'snapshot_diff');
      demandKnown(call, 'snapshot_diff', [named.from ?? '', named.to]);
      const { compareSnapshots } = await import('./snapshots.ts');
      return compareSnapshots(parts().core, named, call);
    },
  };
}

/** The envelope of a call; of `tool` undefined, that there is none of that name. */
async function run(
  { parts, owner, isTokenRequired, version }: ControlMethodsOptions & { readonly version: string },
  [name, tool]: readonly [string, Tool | undefined],
  asked: Asked,
  call: ControlCall,
): Promise<Envelope> {
  const { registry } = parts().tools;
  const { arguments: values = {}, key } = asked;
  if (isTokenRequired && !isOwner(call.peer, owner)) {
    const hint = 'tools are called with a token here: use kitfs mcp --token';
    return plainEnvelope(registry.refuse(new OpError('not-allowed', `call ${name}`, { hint })));
  }
  if (tool === undefined) return plainEnvelope(registry.refuse(unknownTool(name)));
  const session = sessionOf(call, version);
  const { signal } = call;
  const progress = newestOf(call.part);
  const options = { signal, key, progress };
  const envelope = plainEnvelope(await registry.call(tool, values, session, options));
  const isCut = envelope.status === 'error' && envelope.error_code === 'CANCELLED';
  // Whoever asked did not take it back: it is for the next daemon.
  if (isCut && signal.aborted) throw new OpError('not-running', 'call', { hint: 'it stops' });
  return envelope;
}

/** Tells the newest of what happens, when the reader has taken what it was told before. */
function newestOf(tell: (value: unknown) => Promise<void>): (value: unknown) => void {
  let newest: unknown;
  let isTelling = false;
  const tellOn = async () => {
    for (isTelling = true; newest !== undefined; await turn()) {
      const value = newest;
      newest = undefined;
      await tell(value);
    }
    isTelling = false;
  };
  return (value) => {
    newest = value;
    if (!isTelling) tellOn().catch(() => undefined); // It hung up.
  };
}

const unknownTool = (name: string): OpError =>
  new OpError('not-found', `call ${name}`, {
    hint: 'kitfs tools names all there are',
    details: { kind: 'tool' },
  });

async function writeCar(
  { dag }: CoreParts,
  root: ReturnType<typeof parseCid>,
  { signal, part }: ControlCall,
): Promise<{ bytes: number }> {
  let bytes = 0;
  for await (const chunk of exportCar(dag, root, signal)) {
    bytes += chunk.length;
    await part(Buffer.from(chunk).toString('base64'));
  }
  return { bytes };
}

function demand<T>(schema: z.ZodType<T>, params: JsonObject, method: string): T {
  const parsed = schema.safeParse(params);
  if (parsed.success) return parsed.data;
  const hint = parsed.error.issues.map(({ path, message }) => `${path}: ${message}`).join('; ');
  throw new OpError('invalid-argument', method, { hint });
}

const sessionOf = ({ peer, session, signal }: ControlCall, version: string): Session => ({
  id: session,
  surface: 'cli',
  peer,
  principal: `uid:${peer.uid}`,
  client: { name: 'kitfs', version },
  ceiling: UNLIMITED,
  closed: signal,
});

/**
 * The envelope alone, as the command line prints it: what a content tool answers in blocks is put
 * beside its header, as `content` in the header's encoding.
 */
function plainEnvelope(result: CallResult): Envelope {
  if (result.structuredContent !== undefined) return result.structuredContent;
  const envelope = result._meta?.[ENVELOPE_META] as Extract<Envelope, { status: 'success' }>;
  const data = envelope.data as JsonObject;
  const { messages } = data;
  if (Array.isArray(messages)) {
    const shown = messages.map((message: JsonObject) => withContent(message, result));
    return { ...envelope, data: { ...data, messages: shown } };
  }
  const content = result.content.slice(1).map(bytesIn).join('');
  return { ...envelope, data: { ...data, content } };
}

/** One of several messages, with what its block holds. */
function withContent(message: JsonObject, { content }: CallResult): JsonObject {
  const block = content[Number(message['block'])];
  return block === undefined ? message : { ...message, content: bytesIn(block) };
}

function bytesIn(block: CallResult['content'][number]): string {
  switch (block.type) {
    case 'text':
      return block.text;
    case 'resource':
      return block.resource.blob;
    case 'image':
    case 'audio':
      return block.data;
    case 'resource_link':
      return '';
  }
}
