/** What a client is told of the server before its first call. */
import { assert } from '../base/assert.ts';
import type { Tool } from '../tools/tools.ts';

/** Clients cut what is longer. */
const INSTRUCTIONS_CHARS_MAX = 2000;

const TOOLSETS: Readonly<Record<string, string>> = {
  vfs: 'files and directories of the tree',
  ipfs_core: 'content by CID: add, read, list, pin',
  journal: 'who changed what, and when',
  coordination: 'calls that go on as jobs',
  system: 'state of the daemon',
};

export function instructionsFor(
  tools: readonly Pick<Tool, 'toolset'>[],
  mountDir: string | undefined,
): string {
  const counts = new Map<string, number>();
  for (const { toolset } of tools) {
    counts.set(toolset, (counts.get(toolset) ?? 0) + 1);
  }
  const lines = [...counts].map(([toolset, count]) => {
    const about = TOOLSETS[toolset];
    return `- ${toolset} (${count})${about === undefined ? '' : `: ${about}`}`;
  });
  const text = [
    'kitfs is one file tree that programs and agents share. Every change is journaled.',
    mountDir === undefined
      ? 'The tree is not mounted on this host now; tools work without the mount.'
      : `It is mounted at ${mountDir}: there, use your own file tools; /a of a tool is ${mountDir}/a.`,
    'Below /: ipfs (writable, content-addressed; /ipfs/<cid>/… is any content by CID, immutable), ' +
      'mem (gone at stop), .kitfs (status, journal). vfs_list_mounts says what is mounted.',
    'Paths are absolute, without dot segments. Bytes come in slices: go on at next_offset, or read local_path.',
    'Long lists come in pages: pass next_cursor as cursor, with the other arguments unchanged.',
    'Errors have error_code and say what to do. dry_run shows what a destructive call would do.',
    'A long call answers with a job; job_get waits for its end.',
    'Toolsets:',
    ...lines,
  ].join('\n');
  assert(text.length <= INSTRUCTIONS_CHARS_MAX, 'instructions too long');
  return text;
}
