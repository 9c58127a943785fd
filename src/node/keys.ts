/**
 * The keys of the embedded engine: `self`, which is its identity, and those made to publish under.
 * Each is a file of its own that only the owner of the state directory can read; what is in it
 * leaves this file as signatures only.
 *
 * Invariants: a key is on stable storage before anybody hears of it; no key is ever replaced.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  sign,
} from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { NodeKey } from '../backend/backend.ts';
import { asOpError, codeOf, OpError } from '../base/errors.ts';
import type { CID } from '../content/content.ts';
import { nameOfKey, nameText, parseName, peerIdText, publicKeyMessage } from './peer-id.ts';

const generated = promisify(generateKeyPair);

export const SELF = 'self';
const SUFFIX = '.pem';
/** What a kill may leave of a key that nobody heard of. */
const UNFINISHED = '.new';

export class Key implements NodeKey {
  readonly name: string;
  readonly ipnsName: CID;
  /** `k51…`. */
  readonly id: string;
  readonly peerId: string;
  /** As Kubo tells it: the message of libp2p in base64. */
  readonly publicKeyText: string;
  readonly #private: KeyObject;

  constructor(name: string, secret: KeyObject) {
    const { x = '' } = createPublicKey(secret).export({ format: 'jwk' });
    const bytes = Buffer.from(x, 'base64url');
    this.name = name;
    this.ipnsName = nameOfKey(bytes);
    this.id = nameText(this.ipnsName);
    this.peerId = peerIdText(this.ipnsName);
    this.publicKeyText = publicKeyMessage(bytes).toString('base64');
    this.#private = secret;
  }

  /** Whether `text` is another way to write this key's peer id or name. */
  isNamed(text: string): boolean {
    return parseName(text)?.equals(this.ipnsName) === true;
  }

  /** Ed25519, RFC 8032. */
  sign(bytes: Uint8Array): Buffer {
    return sign(null, bytes, this.#private);
  }
}

export class Keys {
  readonly #directory: string;
  readonly #known = new Map<string, Key>();
  /** One at a time: the last one asked for. */
  #making: Promise<unknown> = Promise.resolve();

  /** The directory is made with the first key. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The identity of this engine; made when it is first asked for. */
  async self(): Promise<Key> {
    return (await this.find(SELF)) ?? this.#turn(() => this.#made(SELF));
  }

  /** All keys, `self` first. @throws OpError io, denied, configuration. */
  async all(): Promise<readonly Key[]> {
    const self = await this.self();
    const others: Key[] = [];
    for (const file of (await this.#files()).sort()) {
      const name = decodeURIComponent(file.slice(0, -SUFFIX.length));
      const key = name === SELF ? undefined : await this.find(name);
      if (key !== undefined) others.push(key);
    }
    return [self, ...others];
  }

  async find(name: string): Promise<Key | undefined> {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const text = await this.#read(name);
    return text === undefined ? undefined : this.#remember(name, parsed(text, name));
  }

  /** @throws OpError exists; no-space, io, denied. */
  generate(name: string): Promise<Key> {
    return this.#turn(async () => {
      if ((await this.find(name)) === undefined) return this.#made(name);
      throw new OpError('exists', `make key "${name}"`, { details: { kind: 'key' } });
    });
  }

  async #turn<T>(make: () => Promise<T>): Promise<T> {
    const made = this.#making.then(make, make);
    this.#making = made.catch(() => {});
    return made;
  }

  /** Two who ask for `self` at once get the same. */
  async #made(name: string): Promise<Key> {
    const known = await this.find(name);
    if (known !== undefined) return known;
    const { privateKey } = await generated('ed25519', {});
    try {
      await this.#write(name, privateKey.export({ format: 'pem', type: 'pkcs8' }).toString());
    } catch (error) {
      throw asOpError(error, `make key "${name}"`);
    }
    return this.#remember(name, privateKey);
  }

  #remember(name: string, secret: KeyObject): Key {
    const key = new Key(name, secret);
    this.#known.set(name, key);
    return key;
  }

  async #write(name: string, text: string): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const unfinished = join(this.#directory, UNFINISHED);
    await synced(await open(unfinished, 'w', 0o600), (file) => file.writeFile(text));
    await rename(unfinished, this.#place(name));
    await synced(await open(this.#directory));
  }

  async #read(name: string): Promise<string | undefined> {
    try {
      return await readFile(this.#place(name), 'utf8');
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw asOpError(error, `read key "${name}"`);
    }
  }

  async #files(): Promise<string[]> {
    return (await readdir(this.#directory)).filter((file) => file.endsWith(SUFFIX));
  }

  #place(name: string): string {
    return join(this.#directory, `${encodeURIComponent(name)}${SUFFIX}`);
  }
}

async function synced(file: FileHandle, write?: (file: FileHandle) => Promise<void>) {
  try {
    await write?.(file);
    await file.sync();
  } finally {
    await file.close();
  }
}

function parsed(text: string, name: string): KeyObject {
  try {
    const key = createPrivateKey(text);
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // What Node says of it may quote it.
  }
  throw new OpError('configuration', `read key "${name}"`, {
    hint: 'its file holds no Ed25519 key: put back the right one, or remove it',
  });
}
