/** Figures as a Markdown table: what was measured side by side, round by round, against the bars. */

/** What is measured: the disk itself, bindfs over it, and the file system under measurement. */
export const SUBJECTS = ['native', 'bindfs', 'kitfs'] as const;
export type Subject = (typeof SUBJECTS)[number];

/** Seconds per operation, by the name of the row. */
export type Sample = Readonly<Record<string, number>>;

/** What one round measured; a subject that was not measured in it is absent. */
export type Round = Readonly<Partial<Record<Subject, Sample>>>;

export interface Bar {
  /** 'clock': the bar is of our own seconds, whatever the others take. */
  readonly against: 'native' | 'bindfs' | 'clock';
  /** Of the ratio as it is printed: of rates, at least this; of times, and of seconds, at most. */
  readonly limit: number;
}

export interface RowSpec {
  readonly name: string;
  readonly title: string;
  /** 'rate': operations per second, more is better. 'time': seconds, less is better. */
  readonly unit: 'rate' | 'time';
  readonly bar?: Bar;
}

export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

/** A figure that has no native counterpart. */
export interface Figure {
  readonly name: string;
  readonly title: string;
  readonly value: string;
  readonly bar: string;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** The values of a row for one subject, in the order of the rounds that have them. */
export function secondsOf(rounds: readonly Round[], subject: Subject, name: string): number[] {
  return rounds.flatMap((round) => round[subject]?.[name] ?? []);
}

/**
 * Ours to another's, each ratio of values of one round, so that what slows a round down slows both. Undefined when
 * no round has both.
 */
export function ratiosTo(
  other: Subject,
  rounds: readonly Round[],
  { name, unit }: Pick<RowSpec, 'name' | 'unit'>,
): Spread | undefined {
  const ratios = rounds.flatMap((round) => {
    const [ours, theirs] = [round.kitfs?.[name], round[other]?.[name]];
    if (ours === undefined || theirs === undefined) return [];
    return unit === 'rate' ? theirs / ours : ours / theirs;
  });
  if (ratios.length === 0) return undefined;
  return { min: Math.min(...ratios), median: median(ratios), max: Math.max(...ratios) };
}

/** The bar, and whether the median of this run is on the right side of it. */
export function verdict(rounds: readonly Round[], spec: RowSpec): string {
  if (spec.bar === undefined) return '';
  const { against, limit } = spec.bar;
  const isAtLeast = spec.unit === 'rate' && against !== 'clock';
  const amount = against === 'clock' ? formatSeconds(limit) : `${limit.toFixed(1)} × ${against}`;
  const value =
    against === 'clock'
      ? median(secondsOf(rounds, 'kitfs', spec.name))
      : (ratiosTo(against, rounds, spec)?.median ?? Number.NaN);
  const text = `${isAtLeast ? '≥' : '≤'} ${amount}`;
  if (Number.isNaN(value)) return text;
  return `${text}: ${(isAtLeast ? value >= limit : value <= limit) ? 'met' : 'missed'}`;
}

const digits = (value: number): string =>
  value >= 10 ? Math.round(value).toLocaleString('en') : value.toPrecision(2);

/** `0.91 (0.85–0.98)`: the median, the least and the greatest; of one round, one figure. */
export function formatSpread({ min, median: middle, max }: Spread): string {
  if (min === max) return digits(middle);
  return `${digits(middle)} (${digits(min)}–${digits(max)})`;
}

export function formatSeconds(seconds: number): string {
  if (Number.isNaN(seconds)) return '–';
  if (seconds >= 1) return `${seconds.toFixed(2)} s`;
  return seconds >= 1e-3 ? `${(seconds * 1e3).toPrecision(3)} ms` : `${digits(seconds * 1e6)} µs`;
}

const formatRate = (seconds: number): string =>
  Number.isNaN(seconds) ? '–' : `${digits(1 / seconds)}/s`;

export interface Table {
  readonly specs: readonly RowSpec[];
  readonly rounds: readonly Round[];
  readonly figures: readonly Figure[];
  /** What stands over our column; another file system may be measured in our place. */
  readonly ourTitle: string;
}

export function formatTable({ specs, rounds, figures, ourTitle }: Table): string {
  const columns = SUBJECTS.filter((subject) =>
    specs.some(({ name }) => secondsOf(rounds, subject, name).length > 0),
  );
  const others = columns.filter((subject) => subject !== 'kitfs');
  const heads = columns.map((subject) => (subject === 'kitfs' ? ourTitle : subject));
  const line = (...cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const lines = [
    line('what', ...heads, ...others.map((other) => `ratio to ${other}`), 'bar'),
    `|---|${'--:|'.repeat(columns.length + others.length)}---|`,
  ];
  for (const spec of specs) {
    const values = columns.map((subject) => median(secondsOf(rounds, subject, spec.name)));
    if (values.every(Number.isNaN)) continue;
    const format = spec.unit === 'rate' ? formatRate : formatSeconds;
    const ratios = others.map((other) => {
      const spread = ratiosTo(other, rounds, spec);
      return spread === undefined ? '–' : formatSpread(spread);
    });
    lines.push(line(spec.title, ...values.map(format), ...ratios, verdict(rounds, spec)));
  }
  const dashes = columns.map((subject) => (subject === 'kitfs' ? '' : '–'));
  for (const { title, value, bar } of figures) {
    const cells = dashes.map((dash) => (dash === '' ? value : dash));
    lines.push(line(title, ...cells, ...others.map(() => '–'), bar));
  }
  return lines.join('\n');
}
