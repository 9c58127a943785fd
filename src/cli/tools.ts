/** `kitfs tools`: the inventory. */
import type { Command } from 'commander';
import {
  type Ending,
  type JsonOption,
  type PlaceOptions,
  runs,
  withDaemon,
  withExamples,
  withJson,
  withPlaces,
} from './command.ts';
import { EXIT, print, printJson, table } from './output.ts';

interface Listed {
  readonly name: string;
  readonly title: string;
  readonly _meta: { readonly 'kitfs/tool': { readonly toolset: string } };
}

export function addTools(program: Command, ending: Ending): void {
  const command = program.command('tools').description('what agents, and kitfs call, can do');
  withJson(withPlaces(command), 'names, schemas and annotations');
  withExamples(command, [
    ['kitfs tools', 'names and what they do'],
    [`kitfs tools --json | jq '.[] | select(.name == "vfs_ls")'`, 'the schema of one'],
  ]);
  runs<[], PlaceOptions & JsonOption>(command, ending, (options) =>
    withDaemon(options, async (daemon) => {
      const tools = (await daemon.ask('tools')) as readonly Listed[];
      if (options.json === true) printJson(tools);
      else
        print(
          table(tools.map(({ name, title, _meta }) => [name, _meta['kitfs/tool'].toolset, title])),
        );
      return EXIT.done;
    }),
  );
}
