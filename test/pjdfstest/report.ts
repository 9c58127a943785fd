/** What prove(1) said of a run, in numbers. */

export interface Report {
  readonly files: number;
  readonly tests: number;
  /** A line for each thing that went wrong: `chown/00.t: Failed tests: 3, 5`. */
  readonly wrong: readonly string[];
  /** How many tests failed; what went wrong in another way counts as one. */
  readonly failedCount: number;
  /** Whether prove came to its end, and took it for a success. */
  readonly isSuccess: boolean;
}

const TOTALS = /^Files=(\d+), Tests=(\d+)/m;
const FILE_LINE = /^(\S+\.t)\s+\(Wstat: .* Failed: (\d+)\)$/;
/** Any other fact is that a test passed which the suite had given up on here. */
const WRONG = /: (Failed|Parse errors|Non-zero)/;
const FACT_LINE = /^ {2}(\S.*)$/;
const CONTINUED_LINE = /^ {4,}(\S.*)$/;

/** `suite`: the directory that paths in the output lie in; they are told without it. */
export function readReport(output: string, suite: string): Report {
  const totals = TOTALS.exec(output);
  const [, summary = ''] = output.split(/^Test Summary Report$/m);
  const facts: { readonly failed: number; text: string }[] = [];
  let file = { name: '', failed: 0 };
  for (const line of summary.split('\n')) {
    const [, path, count] = FILE_LINE.exec(line) ?? [];
    const [, fact] = FACT_LINE.exec(line) ?? [];
    const [, more] = CONTINUED_LINE.exec(line) ?? [];
    const last = facts.at(-1);
    if (path !== undefined) file = { name: path.replace(`${suite}/`, ''), failed: Number(count) };
    else if (more !== undefined && last !== undefined) last.text += ` ${more}`;
    else if (fact !== undefined) {
      const failed = fact.startsWith('Failed test') ? file.failed : 1;
      facts.push({ failed, text: `${file.name}: ${fact.replace(/:\s+/, ': ')}` });
    }
  }
  const wrong = facts.filter(({ text }) => WRONG.test(text));
  return {
    files: Number(totals?.[1] ?? 0),
    tests: Number(totals?.[2] ?? 0),
    wrong: wrong.map(({ text }) => text),
    failedCount: wrong.reduce((sum, { failed }) => sum + failed, 0),
    isSuccess: /^Result: PASS$/m.test(output),
  };
}
