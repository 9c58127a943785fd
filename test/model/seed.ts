/**
 * What random tests start from: another number every time, or that of KITFS_TEST_SEED, to see a failure again. A
 * failure prints it.
 */
export const SEED = Number(process.env['KITFS_TEST_SEED'] ?? Date.now() % 2 ** 31);
