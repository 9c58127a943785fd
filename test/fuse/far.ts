/** A tree with one file whose bytes are with a node, and nowhere here. */
import { CONTENT_PROFILE } from '../../src/content/content.ts';
import { noise } from '../content/fixture.ts';
import { type Manner, Origin } from '../fakes/origin.ts';
import { plantFar } from '../sync/far.ts';
import { Fixture } from '../sync/fixture.ts';

/** Three blocks and a bit. */
export const FAR_BYTES = noise(3 * 1024 * 1024 + 17);

export class Far {
  readonly here: Fixture;
  readonly #origin: Origin;

  private constructor(origin: Origin) {
    this.#origin = origin;
    this.here = new Fixture(origin);
  }

  /** `say` hears `asked` for each block. */
  static async make(say: (line: string) => void): Promise<Far> {
    const origin = new Origin();
    const far = new Far(origin);
    await far.#plant();
    origin.onAsked = () => say('asked');
    return far;
  }

  setManner(manner: string): void {
    this.#origin.manner = manner as Manner;
  }

  async #plant(): Promise<void> {
    const there = new Fixture();
    const how = { profile: CONTENT_PROFILE, dryRun: false } as const;
    const { cid } = await there.builder.addBytes(FAR_BYTES, how, there.signal);
    for await (const { cid: block } of there.dag.walk(cid, there.signal)) {
      this.#origin.put(block, there.blocks.get(block) ?? Buffer.alloc(0));
    }
    await there.close();
    plantFar(this.here, 'far', cid, FAR_BYTES.length);
  }
}
