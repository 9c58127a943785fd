/** The laws of keys, names and records of the embedded engine, and of the choice of a node. */
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { publicKeyFromMultihash } from '@libp2p/crypto/keys';
import { unmarshalIPNSRecord } from 'ipns';
import { validate } from 'ipns/validator';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { encodeRecord, readRecord } from '../../src/node/ipns.ts';
import { Keys } from '../../src/node/keys.ts';
import { isPeerId, parseName } from '../../src/node/peer-id.ts';

let directory: string;
beforeEach(() => {
  directory = join(mkdtempSync(join(tmpdir(), 'kitfs-node-')), 'keys');
});
afterEach(() => rmSync(join(directory, '..'), { recursive: true }));

const PATH = '/ipfs/bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e';
const record = { path: PATH, sequence: 3n, validUntil: { s: 4_000_000_000, ns: 5 }, ttlNs: 60n };

describe('keys', () => {
  test('asked for at once by many are made once', async () => {
    const keys = new Keys(directory);
    const made = await Promise.all([keys.self(), keys.self(), keys.find('self'), keys.self()]);
    const ids = made.map((key) => key?.peerId);
    expect(new Set(ids.filter((id) => id !== undefined)).size).toBe(1);
    expect(readdirSync(directory)).toEqual(['self.pem']);
  });

  test.each(['a', '..', 'with space/and slash', 'ü'.repeat(32)])(
    'have any name: %s',
    async (name) => {
      const key = await new Keys(directory).generate(name);
      const again = new Keys(directory);
      expect((await again.find(name))?.id).toBe(key.id);
      expect((await again.all()).map((known) => known.name)).toEqual(['self', name]);
    },
  );

  test('are never replaced, and one that cannot be read is told and not made anew', async () => {
    const keys = new Keys(directory);
    await keys.generate('a');
    await expect(keys.generate('a')).rejects.toMatchObject({ failure: 'exists' });
    writeFileSync(join(directory, 'b.pem'), 'what is no key');
    chmodSync(join(directory, 'b.pem'), 0o600);
    await expect(keys.find('b')).rejects.toMatchObject({ failure: 'configuration' });
    await expect(keys.generate('b')).rejects.toMatchObject({ failure: 'configuration' });
  });

  test('what a kill left of one that was being made is no key', async () => {
    await new Keys(directory).self();
    writeFileSync(join(directory, '.new'), 'half');
    expect(await new Keys(directory).all()).toHaveLength(1);
    expect(await new Keys(directory).generate('a')).toMatchObject({ name: 'a' });
  });

  test('are known by each way to write their name, and nothing else is', async () => {
    const key = await new Keys(directory).self();
    for (const text of [key.id, key.peerId]) {
      expect(parseName(text)?.equals(key.ipnsName)).toBe(true);
      expect(isPeerId(text)).toBe(true);
    }
    for (const text of ['', 'self', '12D3', 'Qm', PATH.slice(6), `${key.peerId}x`]) {
      expect(isPeerId(text), text).toBe(false);
    }
  });
});

describe('a record', () => {
  test('is one to the library that others use', async () => {
    const key = await new Keys(directory).self();
    const bytes = encodeRecord(record, (signed) => key.sign(signed));
    const theirs = unmarshalIPNSRecord(bytes);
    expect(theirs).toMatchObject({ value: PATH, sequence: 3n, ttl: 60n });
    const theirKey = publicKeyFromMultihash(key.ipnsName.multihash as never);
    await expect(validate(theirKey, bytes)).resolves.toBeUndefined();
  });

  test('says what was signed, and with any bit changed it says nothing', async () => {
    const key = await new Keys(directory).self();
    const bytes = encodeRecord(record, (signed) => key.sign(signed));
    expect(readRecord(key.ipnsName, bytes)).toEqual(record);
    for (let at = 0; at < bytes.length; at += 1) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(readRecord(key.ipnsName, changed), `byte ${at}`).not.toEqual(record);
      expect(readRecord(key.ipnsName, bytes.subarray(0, at))).toBeUndefined();
    }
  });

  test('of another key is none', async () => {
    const keys = new Keys(directory);
    const [one, other] = [await keys.self(), await keys.generate('a')];
    const bytes = encodeRecord(record, (signed) => other.sign(signed));
    expect(readRecord(one.ipnsName, bytes)).toBeUndefined();
  });
});
