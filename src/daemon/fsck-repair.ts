/**
 * fsck that repairs: the state directory is locked, the journal is made readable, its rules are put
 * in order, then bytes, then files of nobody; at the end all rules are asked again.
 *
 * Invariants: no file with bytes is removed before another name of it is committed; a file keeps its
 * name whatever became of its bytes.
 */
import { linkSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { asOpError, codeOf, OpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import { loadNative } from '../base/native.ts';
import { SystemRandom } from '../base/random.ts';
import { SLOTS } from '../content/backing.ts';
import { syncPath } from '../content/synced.ts';
import { type ContentRow, Journal } from '../journal/journal.ts';
import type { Mended } from '../journal/mending.ts';
import { type LooseBytes, Repair } from '../journal/repair.ts';
import { complaintsOf, type Salvage, salvage } from '../journal/salvage.ts';
import { bootId } from './background.ts';
import {
  backingPath,
  ContentCheck,
  type Fault,
  fileSize,
  isKnownLost,
  rowsOf,
} from './content-check.ts';
import { type FsckFinding, foundByRule, foundInBytes, foundOnDisk } from './fsck-report.ts';
import { type FsckDone, type FsckWork, shownBy } from './fsck-work.ts';
import { demandNoOtherKeeper } from './keeper-process.ts';
import { openState, type StateDirectory } from './state.ts';
import { type Stray, strayFiles } from './strays.ts';
import { greatestIn, passNumbers, Witness } from './witness.ts';

const OP = 'repair the state directory';

/**
 * @throws OpError busy: a daemon runs, or its keeper is about to start one; not-found: all bytes are
 *   elsewhere; as `fsck`.
 */
export async function repairState(work: FsckWork): Promise<FsckDone> {
  const native = loadNative();
  using state = openState(work.state, native);
  demandNoOtherKeeper(state.keeper, undefined, OP);
  const rebuilt = rebuildJournal(state);
  if (rebuilt.salvage?.saved === 'none') {
    const { aside } = rebuilt.salvage;
    return { findings: rebuilt.findings, checked: { contents: 0, bytes: 0 }, aside };
  }
  const journal = new Journal({ path: state.journal, clock: work.clock });
  try {
    demandContent(state, journal);
    const run = new RepairRun(work, state, journal);
    const findings = [...rebuilt.findings, ...(await run.all())];
    await native.fdatasyncMany([journal.walFd]);
    const isFileLeft = findings.some(
      ({ check, outcome }) => check === 'stray-file' && outcome === 'left',
    );
    if (!isFileLeft) new Witness(journal, state.content).settled();
    const { checked } = run;
    const aside = rebuilt.salvage?.aside;
    return { findings, checked, ...(aside === undefined ? {} : { aside }) };
  } finally {
    journal.close();
  }
}

/** What SQLite itself complains of, once the file was put aside and made readable. */
function rebuildJournal(state: StateDirectory): { findings: FsckFinding[]; salvage?: Salvage } {
  const complaints = complaintsOf(state.journal);
  if (complaints.length === 0) return { findings: [] };
  const made = salvage(state.journal);
  const lost = made.incomplete.join(', ');
  const isWhole = made.saved !== 'none' && lost === '';
  const how = { indexes: 'its indexes were made anew', rows: 'its rows were copied to a new file' };
  const saved = made.saved === 'none' ? 'no row of it can be read' : how[made.saved];
  const action = `${saved}${lost === '' ? '' : `; not all rows of ${lost} could be read`}`;
  const findings = complaints.map((complaint): FsckFinding => {
    return {
      check: 'integrity',
      severity: isWhole ? 'major' : 'loss',
      outcome: made.saved === 'none' ? 'left' : 'repaired',
      file: state.journal,
      detail: complaint,
      action: `${action}; what it was is kept in ${made.aside}`,
    };
  });
  return { findings, salvage: made };
}

/**
 * A directory without any of the files there should be is more likely another one, or an empty mount
 * point: a repair would forget what all of them are.
 * @throws OpError not-found.
 */
function demandContent({ content }: StateDirectory, { contents }: Journal): void {
  if (namesNow(content).some((name) => name === SLOTS || /^[0-9a-f]{2}$/.test(name))) return;
  for (const row of rowsOf(contents)) {
    if (row.place !== 'file' || row.size === 0 || isKnownLost(contents, row)) continue;
    throw new OpError('not-found', OP, {
      hint:
        `${content} has none of the files that the journal tells of: is its disk mounted? ` +
        `if they are lost, make the directory ${join(content, SLOTS)} and repair again`,
    });
  }
}

/** What a loss of power took a start mends better: it knows which bytes were there before. */
const UNSETTLED: Mended = {
  outcome: 'left',
  action: 'the power may have been lost: start kitfs, which settles it, and check again',
};

class RepairRun {
  readonly #work: FsckWork;
  readonly #state: StateDirectory;
  readonly #journal: Journal;
  readonly #repair: Repair;
  readonly #check: ContentCheck;
  /** Content below this number may be waiting for the next start to look at it, after a loss of power. */
  readonly #unsettledBelow: number;

  constructor(work: FsckWork, state: StateDirectory, journal: Journal) {
    const { signal, hasher } = work;
    this.#work = work;
    this.#state = state;
    this.#journal = journal;
    const boot = journal.meta.get('boot_id');
    const isSameBoot = boot === undefined || boot === bootId();
    this.#unsettledBelow = isSameBoot ? Number(journal.meta.get('doubted_below') ?? 0) : Infinity;
    this.#check = new ContentCheck({
      contents: journal.contents,
      hasher,
      directory: state.content,
      signal,
    });
    const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
    this.#repair = new Repair({
      journal,
      actor: { surface: 'cli', uid, gid, pid: process.pid, tool: 'fsck' },
      group: new SystemRandom().token(),
      files: { sizeOf: (id) => sizeNow(this.#path({ id, slot: null })) },
    });
  }

  get checked() {
    return this.#check.checked;
  }

  async all(): Promise<FsckFinding[]> {
    const { signal, onProgress } = this.#work;
    this.#repair.rules(signal);
    // What is adopted gets a name that no file has.
    passNumbers(this.#journal, greatestIn(this.#state.content));
    this.#endLosses();
    const findings: FsckFinding[] = [];
    for (const fault of await this.#check.all(onProgress)) findings.push(await this.#lost(fault));
    const { connection, contents } = this.#journal;
    for (const stray of await strayFiles(connection, contents, this.#state.content, signal)) {
      findings.push(
        foundOnDisk(
          stray,
          // The next start finds in them what lost its name.
          this.#unsettledBelow > 0 ? UNSETTLED : this.#tried(() => this.#adopted(stray)),
        ),
      );
    }
    this.#repair.last(signal);
    return [...this.#repair.findings.map(foundByRule), ...findings];
  }

  /**
   * A repair that was cut off may have left lost bytes the name by which their file shows them, when
   * they had another one already.
   */
  #endLosses(): void {
    const { contents } = this.#journal;
    for (const row of rowsOf(contents)) {
      if (row.place !== 'file' || !isKnownLost(contents, row)) continue;
      const path = this.#path(row);
      const links = statSync(path, { throwIfNoEntry: false })?.nlink ?? 0;
      if (links > 1) rmSync(path, { force: true });
    }
  }

  async #lost(fault: Fault): Promise<FsckFinding> {
    const { content } = fault;
    const shown = shownBy(this.#journal.connection, content.id);
    if (!fault.isDamage) {
      return foundInBytes(fault, shown, {
        outcome: 'left',
        action: 'the disk does not let it be read',
      });
    }
    if (content.place === 'file' && content.id < this.#unsettledBelow) {
      return foundInBytes(fault, shown, UNSETTLED);
    }
    const path = content.place === 'file' ? this.#path(content) : undefined;
    const size = path === undefined ? undefined : await fileSize(path);
    const done = this.#tried(() => {
      const kept =
        path === undefined
          ? this.#journal.contents.bytes(content.id)
          : size && this.#loose(path, size);
      const mended = this.#repair.lose(content, kept === 0 ? undefined : kept);
      if (path !== undefined) rmSync(path, { force: true });
      return mended;
    });
    return foundInBytes(fault, shown, done);
  }

  #adopted({ path, paths, size, label }: Stray): Mended {
    const mended = this.#repair.adopt(label, this.#loose(path, size));
    for (const one of paths) rmSync(one, { force: true });
    return mended;
  }

  /** What the disk refuses is left. */
  #tried(body: () => Mended): Mended {
    try {
      return body();
    } catch (error) {
      const known = asOpError(error, 'repair content');
      if (known.failure === 'internal') throw known;
      return { outcome: 'left', action: known.message };
    }
  }

  #loose(path: string, size: number): LooseBytes {
    const named = (id: ContentId) => this.#path({ id, slot: null });
    const unname = (id: ContentId) => rmSync(named(id), { force: true });
    return {
      size,
      name: (id) => {
        const directory = dirname(named(id));
        mkdirSync(directory, { recursive: true, mode: 0o700 });
        linkSync(path, named(id));
        try {
          for (const at of [named(id), directory, this.#state.content]) syncPath(at);
        } catch (error) {
          unname(id);
          throw error;
        }
      },
      unname,
    };
  }

  #path(row: Pick<ContentRow, 'id' | 'slot'>): string {
    return backingPath(this.#state.content, row);
  }
}

function namesNow(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw asOpError(error, OP);
  }
}

function sizeNow(path: string): number | undefined {
  try {
    return statSync(path).size;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
