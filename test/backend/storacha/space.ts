/** The engine Storacha on whatever answers at an address, and DAGs to send through it. */
import type { CarStore, Upload, Uploaded, UploadsPage } from '../../../src/backend/cars.ts';
import { openStoracha, type StorachaOptions } from '../../../src/backend/storacha/storacha.ts';
import type { Given } from '../../services/storacha.ts';
import { all, type Block, calling, directoryOf, rawBlock, secretOf, streamOf } from '../engine.ts';
import { timing } from '../stores/fixture.ts';

export interface Where {
  readonly url: string;
  readonly did: string;
}

export const storeAt = (
  { url, did }: Where,
  space: string,
  { key, proof }: Given,
  more: Partial<StorachaOptions> = {},
): CarStore =>
  openStoracha({
    serviceUrl: url,
    serviceDid: did,
    space,
    key: () => secretOf(key),
    proof: () => secretOf(proof),
    requestsMax: 4,
    ...timing(),
    ...more,
  });

export interface Tree {
  readonly root: Block['cid'];
  readonly blocks: readonly Block[];
}

/** A directory with files of these words. */
export function treeOf(...words: readonly string[]): Tree {
  const files = words.map((one) => rawBlock(one));
  const root = directoryOf(Object.fromEntries(files.map((file, at) => [`file-${at}`, file])));
  return { root: root.cid, blocks: [root, ...files] };
}

export const putTree = (store: CarStore, { root, blocks }: Tree): Promise<Uploaded> =>
  store.uploads.put(root, streamOf(...blocks), calling());

export const pages = (
  store: CarStore,
  options: { readonly after?: string; readonly perPage?: number } = {},
): Promise<UploadsPage[]> => all(store.uploads.list({ ...calling(), ...options }));

export const uploads = async (store: CarStore, perPage?: number): Promise<Upload[]> =>
  (await pages(store, perPage === undefined ? {} : { perPage })).flatMap((page) => page.uploads);

export const roots = async (store: CarStore, perPage?: number): Promise<string[]> =>
  (await uploads(store, perPage)).map(({ root }) => String(root));
