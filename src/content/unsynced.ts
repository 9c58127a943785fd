/**
 * Content whose bytes the disk did not take. After a failed fdatasync(2) the kernel counts the pages as
 * written, and the next one succeeds although the bytes may be lost: so who failed once fails always,
 * until the object is gone.
 */
import { OpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import type { NativeFiles } from '../base/native.ts';

interface SyncedFile {
  readonly id: ContentId;
  readonly file: { readonly fd: number };
}

export class Unsynced {
  readonly #ids = new Set<ContentId>();

  delete(id: ContentId): void {
    this.#ids.delete(id);
  }

  /** fdatasync(2) of all of them. @throws OpError io; what the disk says. */
  async sync(
    native: Pick<NativeFiles, 'fdatasyncMany'>,
    files: readonly SyncedFile[],
  ): Promise<void> {
    if (files.some(({ id }) => this.#ids.has(id))) {
      const hint = 'the disk did not take its bytes before: replace the file by a copy of it';
      throw new OpError('io', 'fsync content', { hint });
    }
    try {
      await native.fdatasyncMany(files.map(({ file }) => file.fd));
    } catch (error) {
      const { failed } = error as { readonly failed?: readonly number[] };
      for (const [index, { id }] of files.entries()) {
        if (failed === undefined || failed.includes(index)) this.#ids.add(id);
      }
      throw error;
    }
  }
}
