/** What may become of one answer of a node, and how a call may end then. */
import type { Failure } from '../../src/base/errors.ts';
import type { Fault, Passed } from '../services/faulty-proxy.ts';

export interface Harm {
  readonly title: string;
  readonly fault: Fault;
  /** How many calls in a row; more than one is for ever. */
  readonly times: number;
  /** What the call may fail with. */
  readonly failures: readonly Failure[];
  /** Whether it may succeed all the same: sent again, or because the answer said nothing that mattered. */
  readonly mayMend: boolean;
}

const once = { times: 1, mayMend: true } as const;
const forEver = { times: Infinity, mayMend: false } as const;

const STATUSES = [
  [429, 'rate-limited'],
  [500, 'api-error'],
  [503, 'api-error'],
] as const;

/** The node never hears of the call. */
const UNHEARD: readonly Harm[] = [
  {
    title: 'silence, and the node never hears of it',
    fault: { kind: 'hang', when: 'before' },
    ...once,
    mayMend: false,
    failures: ['timeout'],
  },
  {
    title: 'a connection torn before the node hears of it',
    fault: { kind: 'reset', when: 'before' },
    ...once,
    failures: ['not-running'],
  },
  {
    title: 'connections torn for ever',
    fault: { kind: 'reset', when: 'before' },
    ...forEver,
    failures: ['not-running'],
  },
  {
    title: 'no JSON from somebody who is no node',
    fault: { kind: 'garbage', when: 'before' },
    ...once,
    failures: ['response-invalid', 'integrity'],
  },
  ...STATUSES.flatMap(([status, failure]): Harm[] => [
    {
      title: `HTTP ${status} once`,
      fault: { kind: 'status', status },
      ...once,
      failures: [failure],
    },
    {
      title: `HTTP ${status} for ever`,
      fault: { kind: 'status', status },
      ...forEver,
      failures: [failure],
    },
  ]),
];

/** The node has done what it was asked. */
const DONE: readonly Harm[] = [
  {
    title: 'silence after it was done',
    fault: { kind: 'hang', when: 'after' },
    ...once,
    mayMend: false,
    failures: ['timeout'],
  },
  {
    title: 'a connection torn after it was done',
    fault: { kind: 'reset', when: 'after' },
    ...once,
    failures: ['not-running'],
  },
  {
    title: 'no JSON after it was done',
    fault: { kind: 'garbage' },
    ...once,
    failures: ['response-invalid', 'integrity'],
  },
];

/** Of a body of so many bytes, each cut in the middle of a word or a line; `lasts`: it never ends by itself. */
function inBody(bytes: number, lasts: boolean): Harm[] {
  const [middle, almost] = [bytes >> 1, bytes - 2];
  const wrong = { ...once, failures: ['response-invalid', 'integrity'] } as const;
  // A subscription that ends politely is one whose node stopped.
  const short = { ...once, failures: ['response-invalid', 'integrity', 'not-running'] } as const;
  // And so is one that is torn.
  const torn = lasts ? ({ ...once, failures: ['not-running'] } as const) : wrong;
  const cut = (keepBytes: number, end: 'clean' | 'abort'): Fault => ({
    kind: 'truncate',
    keepBytes,
    end,
  });
  return [
    { title: 'all but one byte missing', fault: cut(1, 'clean'), ...short },
    { title: 'the last two bytes missing', fault: cut(almost, 'clean'), ...short },
    { title: 'a connection torn in the body', fault: cut(middle, 'abort'), ...torn },
    {
      title: 'connections torn in every body',
      fault: cut(1, 'abort'),
      ...torn,
      times: Infinity,
    },
    { title: 'a byte turned', fault: { kind: 'flip', atByte: middle }, ...wrong },
    { title: 'the first byte turned', fault: { kind: 'flip', atByte: 0 }, ...wrong },
    {
      title: 'silence in the body',
      fault: { kind: 'hang', when: 'during', keepBytes: middle },
      ...once,
      // The answers of some say nothing, and of others enough has come.
      mayMend: false,
      failures: ['timeout'],
    },
  ];
}

/** Rates are written with as many digits as they have at the moment: another answer may be much shorter. */
const UNSTEADY = /^stats\/bw\?/;

/** Every harm that can be done to a call that was answered so when nothing was harmed. */
export function harmsOf({ path, status, bytes: answered }: Passed): readonly Harm[] {
  const bytes = UNSTEADY.test(path) ? answered >> 1 : answered;
  const lasts = path.startsWith('pubsub/sub?');
  // The contract says that these bytes are not hashed.
  const isBelieved = path.startsWith('files/read?');
  const harms = [...UNHEARD, ...(lasts ? [] : DONE), ...(bytes > 2 ? inBody(bytes, lasts) : [])];
  const isKept = ({ fault }: Harm) => !(isBelieved && fault.kind === 'flip');
  // A refusal may lose its words, and is one all the same.
  const refused = ({ failures }: Harm) => [...failures, 'api-error'] as const;
  return harms
    .filter(isKept)
    .map((harm) => (status === 200 ? harm : { ...harm, failures: refused(harm) }));
}

/** One of each kind, for a command that had all of them before. */
export const harmsAgainOf = (passed: Passed): readonly Harm[] => {
  const kinds = new Set<string>();
  return harmsOf(passed).filter(({ fault, times }) => {
    const kind = `${fault.kind} ${'when' in fault ? fault.when : ''}`;
    const isNew = times === 1 && !kinds.has(kind);
    kinds.add(isNew ? kind : '');
    return isNew;
  });
};

const QUESTIONS = /^(files\/stat|files\/ls|pin\/ls)\?/;

/** What shows how far a method of many calls had come: a question without an answer; of others as `harmsAgainOf`. */
export const harmsOfPlaceOf = (passed: Passed): readonly Harm[] =>
  QUESTIONS.test(passed.path) ? harmsOf(passed).slice(0, 1) : harmsAgainOf(passed);
