/** The table of POSIX cases through the driver fuse-native. */
import { describe } from 'vitest';
import { INEXPRESSIBLE } from '../posix/inexpressible.ts';
import { posixTable } from './posix-table.ts';

describe('fuse-native', () => posixTable({ args: ['--driver', 'fuse-native'] }, INEXPRESSIBLE));
