/** In which states of a daemon the suite is run. */
import { TestDaemon } from '../integration/daemon.ts';

export interface Variant {
  readonly name: string;
  /** Ends with a daemon that is ready. */
  start(): Promise<TestDaemon>;
}

/** Some of everything, so that a later start finds rows, names and bytes. */
const WORK = `
  mkdir -p before/deep && cd before
  head -c 200000 /dev/urandom > large && echo small > small
  ln small hard && ln -s small soft && mkfifo fifo && mv large deep/renamed
  chmod 4755 small && touch -d 1999-01-01 small && rm hard
`;

export const VARIANTS: readonly Variant[] = [
  { name: 'default', start: () => TestDaemon.start() },
  {
    name: 'no-passthrough',
    start: () => TestDaemon.start({ configuration: '[mount]\npassthrough = false\n' }),
  },
  {
    name: 'restarted',
    async start() {
      const daemon = await TestDaemon.start();
      try {
        await daemon.shell(WORK, { in: 'ipfs' });
        await daemon.stop();
        await daemon.restart();
        return daemon;
      } catch (error) {
        await daemon.close();
        throw error;
      }
    },
  },
];
