/** Figures as a Markdown table. */

export interface Row {
  readonly title: string;
  /** Seconds per operation. */
  readonly native: number;
  readonly ours: number;
  readonly ratio: number;
  readonly unit: 'rate' | 'time';
  readonly bar: string;
}

/** A figure that has no native counterpart. */
export interface Figure {
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

const perSecond = (seconds: number): string => {
  const rate = 1 / seconds;
  return rate >= 100 ? Math.round(rate).toLocaleString('en') : rate.toFixed(2);
};

const figure = ({ unit }: Row, seconds: number): string =>
  unit === 'rate' ? `${perSecond(seconds)}/s` : `${(seconds * 1000).toPrecision(3)} ms`;

export function formatTable(rows: readonly Row[], figures: readonly Figure[]): string {
  const lines = [
    '| what | native | kitfs | ratio | bar |',
    '|---|--:|--:|--:|--:|',
    ...rows.map((row) => {
      const meaning = row.unit === 'rate' ? 'of its rate' : '× its time';
      const cells = [figure(row, row.native), figure(row, row.ours)];
      const ratio = `${row.ratio.toFixed(2)} ${meaning}`;
      return `| ${row.title} | ${cells.join(' | ')} | ${ratio} | ${row.bar} |`;
    }),
    ...figures.map(({ title, value, bar }) => `| ${title} | – | ${value} | – | ${bar} |`),
  ];
  return lines.join('\n');
}
