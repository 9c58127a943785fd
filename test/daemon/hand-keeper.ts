/** A keeper in the process of the test. */
import { openSync } from 'node:fs';
import type { Held } from '../../src/daemon/keeper.ts';

/** Holds the descriptors themselves: a daemon that closes one has closed it. */
export class HandKeeper {
  readonly held = (name: string): Held | undefined => this.things.get(name);
  readonly things = new Map<string, Held>();
  readonly said: string[] = [];
  readonly pid = process.pid;
  last = 'signal 9';

  hold(name: string, descriptor: number, data = ''): void {
    this.said.push(`hold ${name}`);
    this.things.set(name, { descriptor, data });
  }

  note(name: string, data: string): void {
    this.said.push(`note ${name}\n${data}`);
  }

  drop(name: string): void {
    this.said.push(`drop ${name}`);
    this.things.delete(name);
  }

  mounted(dir: string, device: string): void {
    this.said.push(`mounted ${device} ${dir}`);
  }

  unmounted(): void {
    this.said.push('unmounted');
  }
}

/** Has its own duplicate of what is held, as the real one. */
export class DuplicatingKeeper extends HandKeeper {
  override hold(name: string, descriptor: number, data = ''): void {
    super.hold(name, openSync(`/proc/self/fd/${descriptor}`, 'r'), data);
  }
}
