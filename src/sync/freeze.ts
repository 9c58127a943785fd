/**
 * A subtree as it is at one moment. Its rows are read in one go, with nothing in between; its bytes
 * are content objects that cannot change any more, and that the block store keeps from then on.
 *
 * Invariants: of what is being written the version before is taken, or a copy of one moment
 * (`writing.ts`); an object that is held keeps its bytes, whoever writes to the file gets another one.
 */
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { type ContentId, type Ino, type Name, NO_CONTENT } from '../base/ids.ts';
import { isDirectory, isRegular, isSymlink } from '../base/posix.ts';
import type { ContentStore } from '../content/content.ts';
import type { InodeRow, Journal, PublishedRow } from '../journal/journal.ts';
import { type Kept, Writing } from './writing.ts';

export interface FrozenEntry {
  readonly name: Name;
  /** From the root of what was frozen, `a/b`; of the root itself ''. */
  readonly path: Name;
  readonly row: Readonly<InodeRow>;
  /** The bytes of a regular file. */
  content: ContentId;
  /** Of a symbolic link. */
  readonly target: Name | undefined;
  readonly xattrs: readonly { readonly name: Name; readonly value: Buffer }[];
  /** Not everybody may see all of it: its bytes or names, or one of its attributes. */
  readonly isPrivate: boolean;
  /** A directory that is what it was when it was published: it has no `children` here. */
  readonly published: PublishedRow | undefined;
  /** In bytewise order of their names. */
  readonly children: readonly FrozenEntry[];
}

export interface Frozen {
  /** Parents before what is in them; the first is the root. */
  readonly entries: readonly FrozenEntry[];
  /** Number and hash of the last record before. */
  readonly journal: { readonly seq: number; readonly hash: Buffer };
  /** Copies made because somebody was writing. */
  readonly copies: ReadonlySet<ContentId>;
  /** Objects that the block store kept before. */
  readonly kept: ReadonlySet<ContentId>;
}

/** Whether whoever asks may see an inode: its bytes, or what is in it. */
export interface Gate {
  /** @throws OpError denied. */
  demandReadable(ino: Ino): void;
  /** Whether uid 0 asks: attributes are shown that only it may see, and nothing is denied. */
  readonly seesTrusted: boolean;
}

/** Of the daemon itself. */
export const OPEN_GATE: Gate = { demandReadable: () => undefined, seesTrusted: true };

/** What is known of directories since they were published. */
export interface Known {
  /** Called once, before anything is read and with nothing in between. */
  finish(): void;
  /** The row of a directory that is what it was, and all below it. */
  find(ino: Ino): PublishedRow | undefined;
  /** Whether nothing is known of what is below, whatever rows there are. */
  hasMoved(ino: Ino): boolean;
}

export interface FreezeOptions {
  readonly gate: Gate;
  readonly dryRun: boolean;
  readonly known?: Known | undefined;
  /** Rather fails than copies what somebody began to write just now: see `Writing.demandSettled`. */
  readonly isPatient?: boolean;
}

export interface FreezePorts {
  readonly journal: Journal;
  readonly contents: ContentStore;
  readonly clock: Clock;
}

/**
 * Freezes the inode `root` and all below it. With `dryRun` nothing is held or copied, and what is
 * being written may change under the reader.
 * @throws OpError denied, not-found, no-space, io; locked: somebody writes to it, and never stops, or to so much of it.
 */
export function freeze(
  ports: FreezePorts,
  root: Ino,
  { gate, dryRun, known, isPatient = false }: FreezeOptions,
): Frozen {
  const { journal } = ports;
  const head = { ...journal.head };
  const writing = new Writing(ports);
  if (isPatient) writing.demandSettled(rowOf(journal, root).superblock);
  const read = () => {
    known?.finish();
    const entries = look(journal, root, { gate, known, writing });
    return { entries, journal: head, kept: keptOf(ports, entries) };
  };
  if (dryRun) return { ...read(), copies: new Set() };
  return journal.commit(() => {
    const seen = read();
    writing.demandCopiable(seen.entries.map((entry) => entry.row).filter(isFile));
    return { ...seen, copies: keepBytes(writing, seen.entries) };
  });
}

const isFile = ({ mode }: Readonly<InodeRow>) => isRegular(mode);

/** Copies nobody has named yet go; what is sealed may be somebody's block by now, and stays. */
export function unfreeze({ journal, contents }: FreezePorts, { copies }: Frozen): void {
  journal.commit(() => {
    for (const id of copies) {
      const row = contents.row(id);
      if (row !== undefined && row.state !== 'sealed' && row.refs === 0) contents.discard(id);
    }
  });
}

/** Entries for one page of a directory. */
const NAMES_PER_PAGE = 1024;

interface Looking extends Pick<FreezeOptions, 'gate' | 'known'> {
  readonly writing: Writing;
}

function look(journal: Journal, root: Ino, { gate, known, writing }: Looking): MutableEntry[] {
  const row = rowOf(journal, root);
  const at = { name: '' as Name, path: '' as Name, row };
  const top = entryOf(journal, { gate, known, writing }, at);
  const entries: MutableEntry[] = [];
  const waiting: MutableEntry[] = [top];
  for (let entry = waiting.pop(); entry !== undefined; entry = waiting.pop()) {
    entries.push(entry);
    if (!isDirectory(entry.row.mode) || entry.published !== undefined) continue;
    const looking = { gate, known: entry.isKnown ? known : undefined, writing };
    const prefix = entry.path === '' ? '' : `${entry.path}/`;
    let after = '' as Name;
    for (;;) {
      const page = journal.dentries.inodesAfter(entry.row.ino, after, NAMES_PER_PAGE);
      for (const { name, inode } of page) {
        const path = `${prefix}${name}` as Name;
        entry.children.push(entryOf(journal, looking, { name, path, row: inode }));
        after = name;
      }
      if (page.length < NAMES_PER_PAGE) break;
    }
    // The last one pushed is looked at first: names come in their order.
    for (let at = entry.children.length - 1; at >= 0; at -= 1) {
      const child = entry.children[at];
      if (child !== undefined) waiting.push(child);
    }
  }
  return entries;
}

interface MutableEntry extends FrozenEntry {
  row: Readonly<InodeRow>;
  readonly children: MutableEntry[];
  /** Rows are believed of what is below. */
  readonly isKnown: boolean;
}

function entryOf(
  journal: Journal,
  { gate, known, writing }: Looking,
  { name, path, row }: { readonly name: Name; readonly path: Name; readonly row: InodeRow },
): MutableEntry {
  const { ino, mode } = row;
  if (isDirectory(mode) || isRegular(mode)) gate.demandReadable(ino);
  const xattrs = journal.xattrs.all(ino);
  const isTrusted = (attribute: { readonly name: Name }) => attribute.name.startsWith('trusted.');
  const isKnown = known !== undefined && isDirectory(mode) && !known.hasMoved(ino);
  const published = isKnown ? known.find(ino) : undefined;
  const isShown = published !== undefined && (gate.seesTrusted || !published.isPrivate);
  return {
    name,
    path,
    row: isRegular(mode) ? writing.rowOf(row) : row,
    content: writing.contentOf(row),
    target: isSymlink(mode) ? journal.symlinks.get(ino) : undefined,
    xattrs: gate.seesTrusted ? xattrs : xattrs.filter((attribute) => !isTrusted(attribute)),
    isPrivate: !isForAll(mode) || xattrs.some((one) => isTrusted(one) || one.name === ACL_NAME),
    published: isShown ? published : undefined,
    isKnown,
    children: [],
  };
}

/** A list that may deny what the bits grant. */
const ACL_NAME = 'system.posix_acl_access';

/** Owner, group and others may read it, and search it if it is a directory. */
function isForAll(mode: number): boolean {
  if (isDirectory(mode)) return (mode & 0o555) === 0o555;
  return !isRegular(mode) || (mode & 0o444) === 0o444;
}

function rowOf(journal: Journal, ino: Ino): InodeRow {
  const row = journal.inodes.get(ino);
  if (row === undefined) throw new OpError('not-found', `freeze inode ${ino}`);
  return row;
}

function keptOf({ contents }: FreezePorts, entries: readonly FrozenEntry[]): Set<ContentId> {
  const ids = entries.map(({ content }) => content).filter((id) => id !== NO_CONTENT);
  return new Set(ids.filter((id) => contents.row(id)?.held === 1));
}

/** Gives every file an object that stays as it is; answers those made for it. */
function keepBytes(writing: Writing, entries: readonly MutableEntry[]): Set<ContentId> {
  const copies = new Set<ContentId>();
  const known = new Map<Ino, Kept>();
  for (const entry of entries) {
    if (!isRegular(entry.row.mode)) continue;
    const kept = known.get(entry.row.ino) ?? writing.keep(entry.row);
    known.set(entry.row.ino, kept);
    entry.content = kept.content;
    entry.row = kept.row;
    if (kept.isCopy) copies.add(kept.content);
  }
  return copies;
}
