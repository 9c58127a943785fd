/** The units as they are installed: with the paths of this installation in them. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { withPaths } from '../../src/cli/systemd.ts';

const SYSTEMD = fileURLToPath(new URL('../../systemd', import.meta.url));

test('the programs of a unit are replaced by those of the installation, and nothing else is', () => {
  const programs = { kitfs: ['/usr/bin/node', '/opt/kitfs/main.js'], 'kitfs-keeper': ['/k'] };
  const unit = '# ExecStart=kitfs a\nExecStart=kitfs mount --keeper %t/s\nExecStopPost=kitfs b\n';
  expect(withPaths(unit, programs)).toBe(
    '# ExecStart=kitfs a\nExecStart=/usr/bin/node /opt/kitfs/main.js mount --keeper %t/s\nExecStopPost=kitfs b\n',
  );
  expect(withPaths('ExecStart=kitfs-keeper --listen /s', programs)).toBe(
    'ExecStart=/k --listen /s',
  );
  expect(withPaths('ExecStart=other --listen /s', programs)).toBe('ExecStart=other --listen /s');
});

test.each([
  ['/home/ann b/kitfs', '"/home/ann b/kitfs"'],
  ['/50%/kitfs', '/50%%/kitfs'],
  ['/$HOME/kitfs', '/$$HOME/kitfs'],
  ['/a "b" \\c/kitfs', '"/a \\"b\\" \\\\c/kitfs"'],
  ["/ann's/kitfs", '"/ann\'s/kitfs"'],
  ['/a;b', '"/a;b"'],
])('the path %j is one word to systemd: %j', (path, word) => {
  expect(withPaths('ExecStart=kitfs mount', { kitfs: [path] })).toBe(`ExecStart=${word} mount`);
});

/** Every unit that is shipped, by its name below `systemd/`. */
const units = readdirSync(SYSTEMD, { recursive: true, encoding: 'utf8' }).filter(
  (name) => name.endsWith('.service') && statSync(join(SYSTEMD, name)).isFile(),
);

test.each(units)('%s starts a program that install knows', (name) => {
  const text = readFileSync(join(SYSTEMD, name), 'utf8');
  const program = name.endsWith('kitfs-keeper.service') ? 'kitfs-keeper' : 'kitfs';
  expect(withPaths(text, { [program]: ['/x'] })).toContain('\nExecStart=/x ');
});

/** Of systemd.exec(5): what makes a mount namespace, in which a mount would be seen by nobody else. */
const NAMESPACING = [
  ...['PrivateTmp', 'PrivateDevices', 'PrivateMounts', 'PrivateIPC', 'PrivateUsers'],
  ...['ProtectSystem', 'ProtectHome', 'ProtectKernelTunables', 'ProtectKernelModules'],
  ...['ProtectKernelLogs', 'ProtectControlGroups', 'ProtectProc', 'ProcSubset'],
  ...['RootDirectory', 'RootImage', 'MountImages', 'ExtensionImages', 'ExtensionDirectories'],
  ...['ReadOnlyPaths', 'ReadWritePaths', 'InaccessiblePaths', 'ExecPaths', 'NoExecPaths'],
  ...['BindPaths', 'BindReadOnlyPaths', 'TemporaryFileSystem', 'DynamicUser', 'LogNamespace'],
  'MountFlags',
];
const MOUNT_NAMESPACES = new RegExp(`^(${NAMESPACING.join('|')})=`, 'm');

test.each(units)('%s has no mount namespace of its own', (name) => {
  expect(MOUNT_NAMESPACES.exec(readFileSync(join(SYSTEMD, name), 'utf8'))).toBeNull();
  expect(MOUNT_NAMESPACES.test('[Service]\nProtectSystem=strict\n')).toBe(true);
});
