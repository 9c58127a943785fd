/** The table of POSIX cases through the native driver. */
import { describe } from 'vitest';
import { posixTable } from './posix-table.ts';

describe('native', () => posixTable({ args: ['--driver', 'native'] }));
