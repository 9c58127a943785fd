/** Corruptions of content, records and counts; and of what lies on the disk. */
import {
  linkSync,
  mkdirSync,
  readFileSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { noise } from '../content/fixture.ts';
import { FROZEN, LARGE, LINKED, PACKED } from './kept-state.ts';
import { type Corruption, content, inode } from './planted.ts';

const flip = (path: string, position: number): void => {
  const bytes = readFileSync(path);
  bytes[position] = (bytes[position] ?? 0) ^ 1;
  writeFileSync(path, bytes);
};

export const BYTES: readonly Corruption[] = [
  {
    title: 'a content row with flags that are none',
    check: 'content-fields',
    plant: content('held = 5, refs = -2', PACKED),
    outcome: 'repaired',
  },
  {
    title: 'content of a directory',
    check: 'inode-content',
    plant: inode('content = 1', '/ipfs/docs'),
    outcome: 'repaired',
  },
  {
    title: 'a file that forgot its content, which a record names',
    check: 'inode-content',
    plant: inode('content = 0', LARGE),
    outcome: 'repaired',
  },
  {
    title: 'a content row that is gone, with its bytes in a file',
    check: 'inode-content',
    plant: (s) => s.sql(`DELETE FROM content WHERE id = ${s.content(LARGE)}`),
    outcome: 'repaired',
  },
  {
    title: 'a content row that is gone, with its packed bytes',
    check: 'inode-content',
    plant: (s) => s.sql(`DELETE FROM content WHERE id = ${s.content(PACKED)}`),
    outcome: 'repaired',
  },
  {
    title: 'a content row that is gone with everything of it',
    check: 'inode-content',
    plant: (s) => {
      unlinkSync(s.backing(FROZEN));
      s.sql(`DELETE FROM content WHERE id = ${s.content(FROZEN)}`);
    },
    outcome: 'left',
    lost: [FROZEN],
    left: ['content-lost'],
  },
  {
    title: 'a CID of what is being written',
    check: 'content-sealed',
    plant: content(`state = 'frozen'`, LARGE),
    outcome: 'repaired',
  },
  {
    title: 'a CID of no profile',
    check: 'content-sealed',
    plant: content('profile = NULL', PACKED),
    outcome: 'repaired',
  },
  {
    title: 'content that is elsewhere, nobody knows what',
    check: 'content-remote',
    plant: content(`state = 'remote', cid = NULL, profile = NULL`, PACKED),
    outcome: 'left',
    lost: [PACKED],
    left: ['content-lost'],
  },
  {
    title: 'a slot of what is at rest',
    check: 'content-slot',
    plant: content('slot = 9', LARGE),
    outcome: 'repaired',
  },
  {
    title: 'a row of packed content that tells another length',
    check: 'packed-bytes',
    plant: content('size = 3', PACKED),
    outcome: 'repaired',
  },
  {
    title: 'packed bytes that were cut',
    check: 'packed-bytes',
    plant: (s) => s.sql(`UPDATE packed SET bytes = x'0102' WHERE content = ${s.content(PACKED)}`),
    outcome: 'quarantined',
    lost: [PACKED],
    found: ['#INO-content-CONTENT'],
    left: ['content-lost'],
  },
  {
    title: 'packed bytes that are gone',
    check: 'packed-bytes',
    plant: (s) => s.sql(`DELETE FROM packed WHERE content = ${s.content(PACKED)}`),
    outcome: 'left',
    lost: [PACKED],
    left: ['content-lost'],
  },
  {
    title: 'packed bytes of no content',
    check: 'packed-bytes',
    plant: (s) => s.sql(`INSERT INTO packed VALUES (900, x'616263')`),
    outcome: 'quarantined',
    found: ['content-900'],
  },
  {
    title: 'a file of another size than its bytes',
    check: 'inode-size',
    plant: inode('size = 5', LARGE),
    outcome: 'repaired',
  },
  {
    title: 'content with a wrong number of files',
    check: 'content-refs',
    plant: content('refs = 4', LARGE),
    outcome: 'repaired',
  },
  {
    title: 'content of nobody',
    check: 'content-owner',
    plant: (s) =>
      s.sql(`INSERT INTO content VALUES (901, 3, 'frozen', 'packed', 0, 0, NULL, NULL, NULL, 1, NULL);
        INSERT INTO packed VALUES (901, x'616263')`),
    outcome: 'quarantined',
    found: ['content-901'],
  },
  {
    title: 'a block beyond the end of its content',
    check: 'block-range',
    plant: (s) =>
      s.sql(`UPDATE block SET size = 300000 WHERE content = ${s.content(LARGE)} AND position = 0`),
    outcome: 'repaired',
  },
  {
    title: 'blocks of no content',
    check: 'block-range',
    plant: (s) => s.sql(`INSERT INTO block VALUES (x'01', 900, 0, 3)`),
    outcome: 'repaired',
  },
  {
    title: 'a CID without its block',
    check: 'block-root',
    plant: (s) => s.sql(`DELETE FROM block WHERE content = ${s.content(PACKED)}`),
    outcome: 'repaired',
  },
  {
    title: 'a pin of what is not here',
    check: 'pin-block',
    plant: (s) => s.sql(`INSERT INTO pin VALUES (x'01551220ff', 'direct', NULL, 1, 0)`),
    outcome: 'left',
    left: ['pin-block'],
  },
  {
    title: 'a record of an actor that is gone',
    check: 'record-actor',
    plant: (s) => s.sql('DELETE FROM actor'),
    outcome: 'repaired',
  },
  {
    title: 'a write session of an actor that is gone',
    check: 'session-actor',
    plant: (s) =>
      s.sql(
        `INSERT INTO write_session VALUES (1, ${s.ino(PACKED)}, 88, x'2f61', 1, 0, 0, 0, '{}', 0)`,
      ),
    outcome: 'repaired',
  },
  {
    title: 'a wrong sum of what a tree holds',
    check: 'usage',
    plant: (s) => s.sql('UPDATE usage SET bytes = 1, inodes = 1'),
    outcome: 'repaired',
  },
  {
    title: 'a journal that does not know its end',
    check: 'chain',
    plant: (s) => s.sql(`DELETE FROM meta WHERE key = 'head'`),
    outcome: 'repaired',
  },
  {
    title: 'a record that was changed',
    check: 'chain',
    plant: (s) => s.sql(`UPDATE op SET path = x'2f6f74686572' WHERE seq = 5`),
    outcome: 'left',
    left: ['chain'],
  },
  {
    title: 'records that are gone from the end',
    check: 'chain',
    plant: (s) => s.sql('DELETE FROM op WHERE seq = (SELECT max(seq) FROM op)'),
    outcome: 'left',
    left: ['chain'],
  },
];

export const DISK: readonly Corruption[] = [
  {
    title: 'a bit of a large file that turned',
    check: 'bytes-cid',
    plant: (s) => flip(s.backing(LARGE), 100_000),
    outcome: 'quarantined',
    lost: [LARGE],
    found: ['#INO-content-CONTENT'],
    left: ['content-lost'],
  },
  {
    title: 'a bit of a packed file that turned',
    check: 'bytes-cid',
    plant: (s) => {
      const id = s.content(PACKED);
      s.sql(
        `UPDATE packed SET bytes = CAST('THE' || substr(bytes, 4) AS BLOB) WHERE content = ${id}`,
      );
    },
    outcome: 'quarantined',
    lost: [PACKED],
    found: ['#INO-content-CONTENT'],
    left: ['content-lost'],
  },
  {
    title: 'a large file that was cut',
    check: 'bytes-size',
    plant: (s) => truncateSync(s.backing(LARGE), 1000),
    outcome: 'quarantined',
    lost: [LARGE],
    found: ['#INO-content-CONTENT'],
    left: ['content-lost'],
  },
  {
    title: 'a large file that is gone',
    check: 'bytes-size',
    plant: (s) => unlinkSync(s.backing(LARGE)),
    outcome: 'left',
    lost: [LARGE],
    left: ['content-lost'],
  },
  {
    title: 'bytes of two names that are gone',
    check: 'packed-bytes',
    plant: (s) => s.sql(`DELETE FROM packed WHERE content = ${s.content(LINKED)}`),
    outcome: 'left',
    lost: [LINKED, '/ipfs/docs/deep/again'],
    left: ['content-lost'],
  },
  {
    title: 'a block kept by its CID alone, whose bytes turned',
    check: 'bytes-block',
    plant: (s) => {
      const id = s.number(
        `SELECT id FROM content WHERE held = 1 AND cid IS NULL AND place = 'packed'
          AND id NOT IN (SELECT b.content FROM block b JOIN pin p ON p.cid = b.cid) ORDER BY id LIMIT 1`,
      );
      s.sql(`UPDATE packed SET bytes = CAST(substr(bytes, 1, length(bytes) - 1) || 'x' AS BLOB)
        WHERE content = ${id}`);
    },
    outcome: 'quarantined',
    found: ['content-*'],
  },
  {
    title: 'a file of nobody',
    check: 'stray-file',
    plant: (s) => {
      mkdirSync(dirname(s.backingOf(910)), { recursive: true });
      writeFileSync(s.backingOf(910), noise(70_000, 4));
      // What is packed too was only not removed yet.
      mkdirSync(dirname(s.backingOf(s.content(PACKED))), { recursive: true });
      writeFileSync(s.backingOf(s.content(PACKED)), `the bytes of ${PACKED}`);
    },
    outcome: 'quarantined',
    found: ['content-910'],
  },
  {
    title: 'a slot of nobody',
    check: 'stray-file',
    plant: (s) => {
      const slots = join(s.directory, 'content', 'slots');
      mkdirSync(slots, { recursive: true });
      writeFileSync(join(slots, '44'), noise(70_000, 4));
      // Empty ones, what is packed too, and second names of what is known are nobody's loss.
      writeFileSync(join(slots, '45'), '');
      writeFileSync(join(slots, '47'), `the bytes of ${LINKED}`);
      linkSync(s.backing(LARGE), join(slots, '46'));
    },
    outcome: 'quarantined',
    found: ['slot-44'],
  },
];
