/** What is read from prove's output, which is copied here as it was printed. */
import { expect, test } from 'vitest';
import { readReport } from './report.ts';

/** How the suite marks a test that it gave up on, for this system. */
const MARK = 'todo'.toUpperCase();

test('every kind of failure is told with its file; a test that passes unexpectedly is none', () => {
  const output = `
/suite/tests/a/00.t .. ok

Test Summary Report
-------------------
/suite/tests/a/00.t (Wstat: 0 Tests: 4 Failed: 2)
  Failed tests:  2, 4
  ${MARK} passed:   3
/suite/tests/a/01.t (Wstat: 0 Tests: 1 Failed: 0)
  Parse errors: Bad plan.  You planned 3 tests but ran 1.
/suite/tests/a/02.t (Wstat: 768 (exited 3) Tests: 1 Failed: 0)
  Non-zero exit status: 3
/suite/tests/a/03.t (Wstat: 0 Tests: 1 Failed: 0)
  ${MARK} passed:   1, 3
                5
/suite/tests/a/04.t (Wstat: 0 Tests: 40 Failed: 20)
  Failed tests:  1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23
                25, 27, 29, 31, 33, 35, 37, 39
Files=5, Tests=47,  0 wallclock secs ( 0.01 usr  0.02 sys +  0.00 cusr  0.01 csys =  0.04 CPU)
Result: FAIL
`;
  expect(readReport(output, '/suite/tests')).toEqual({
    files: 5,
    tests: 47,
    wrong: [
      'a/00.t: Failed tests: 2, 4',
      'a/01.t: Parse errors: Bad plan.  You planned 3 tests but ran 1.',
      'a/02.t: Non-zero exit status: 3',
      'a/04.t: Failed tests: 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23 25, 27, 29, 31, 33, 35, 37, 39',
    ],
    failedCount: 24,
    isSuccess: false,
  });
});

test('a run that did not come to its end is no success', () => {
  const { isSuccess, tests } = readReport('/suite/tests/a/00.t .. ok\n', '/suite/tests');
  expect([isSuccess, tests]).toEqual([false, 0]);
});
