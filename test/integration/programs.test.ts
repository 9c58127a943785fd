/** Ordinary programs on the mount, as children: they must not notice where they are. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TestDaemon } from './daemon.ts';

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await TestDaemon.start();
});
afterAll(async () => {
  const findings = await daemon.json<{ findings: unknown[] }>(['fsck']);
  await daemon.close();
  expect(findings.findings).toEqual([]);
});

const IDENTITY = 'git config user.name t; git config user.email t@localhost';

/** A repository off the mount, with enough files for several packs of work. */
const makeRepository = (where: string): string => `
  mkdir ${where}; cd ${where}; git init -q -b main; ${IDENTITY}
  for i in $(seq 1 200); do mkdir -p d$((i % 10)); seq 1 $i > d$((i % 10))/f$i; done
  git add -A; git commit -q -m one; echo change >> d1/f1; git commit -q -a -m two`;

describe('programs on the mount', () => {
  test('git clones, checks, commits and cleans', async () => {
    const source = join(daemon.directory, 'source');
    await daemon.shell(makeRepository(source), { in: daemon.directory });
    await daemon.shell(
      `git clone -q ${source} clone; cd clone; ${IDENTITY}
       git fsck --strict --no-progress; git status --porcelain | wc -l | grep -qx 0
       echo new > new; git add new; git commit -q -m three; git gc -q; git fsck --no-progress
       git checkout -q HEAD~2; git checkout -q main; git status --porcelain | wc -l | grep -qx 0
       git grep -q 199; git stash list; git clean -fdxq; cd ..; rm -rf clone`,
      { in: 'ipfs', timeoutMs: 60_000 },
    );
  });

  test('npm installs packages from local tarballs, and they run', async () => {
    const base = join(daemon.directory, 'packages');
    for (const name of ['one', 'two']) {
      const folder = join(base, name);
      mkdirSync(folder, { recursive: true });
      const main = `module.exports = '${name}';`;
      const manifest = { name: `kitfs-${name}`, version: '1.0.0', main: 'index.js' };
      writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
      writeFileSync(join(folder, 'index.js'), main);
      for (let i = 0; i < 50; i++) writeFileSync(join(folder, `part${i}.js`), main.repeat(i + 1));
    }
    await daemon.shell(
      'for p in one two; do (cd $p && npm pack --silent --pack-destination ..); done',
      {
        in: base,
        timeoutMs: 60_000,
      },
    );
    await daemon.shell(
      `mkdir app; cd app; echo '{"name":"app","version":"1.0.0"}' > package.json
       npm install --offline --no-audit --no-fund --cache ${base}/cache \\
         ${base}/kitfs-one-1.0.0.tgz ${base}/kitfs-two-1.0.0.tgz
       node -e "if (require('kitfs-one') + require('kitfs-two') !== 'onetwo') process.exit(1)"
       npm ci --offline --no-audit --no-fund --cache ${base}/cache; rm -rf node_modules`,
      { in: 'ipfs', timeoutMs: 120_000 },
    );
  });

  test('sqlite3 in WAL mode with two writers keeps every row', async () => {
    const writer = (n: number) => `
      for i in $(seq 1 50); do
        sqlite3 -cmd '.timeout 20000' db "INSERT INTO t VALUES(${n}, $i);"
      done`;
    await daemon.shell(
      `mkdir sql; cd sql
       sqlite3 db "PRAGMA journal_mode=WAL; CREATE TABLE t(w, i);"
       (${writer(1)}) & a=$!; (${writer(2)}) & b=$!; wait $a; wait $b
       test "$(sqlite3 db 'SELECT count(*), count(DISTINCT w*1000+i) FROM t')" = '100|100'
       test "$(sqlite3 db 'PRAGMA integrity_check')" = ok`,
      { in: 'ipfs', timeoutMs: 60_000 },
    );
  });

  test('rsync -a copies, and the second run moves nothing', async () => {
    const tree = join(daemon.directory, 'tree');
    await daemon.shell(
      `mkdir ${tree}; cd ${tree}; mkdir -p a/b; seq 1 5000 > a/n; ln -s n a/l; ln a/n a/h
       echo x > a/b/x; chmod 600 a/b/x; touch -d '2001-02-03 04:05:06.789' a/b/x; mkfifo a/p`,
      { in: daemon.directory },
    );
    await daemon.shell(
      `rsync -aH ${tree}/ synced/
       test -z "$(rsync -aH --itemize-changes ${tree}/ synced/)"
       test -z "$(rsync -aHc --itemize-changes synced/ ${tree}/)"`,
      { in: 'ipfs' },
    );
  });

  test('tar goes out and in with equal bytes, modes and times', async () => {
    const listing =
      "find . -printf '%P %y %m %s %T@ %n\\n' | sort; find . -type f -exec sha256sum {} + | sort";
    await daemon.shell(
      `mkdir tar; cd tar; mkdir -p in/d out; cd in
       for i in $(seq 1 100); do head -c $((i * 1000)) /dev/urandom > d/f$i; done
       chmod 751 d; chmod 640 d/f1; touch -d '1999-12-31 23:59:59.123456789' d/f2; ln d/f3 d/h; ln -s f4 d/l
       (${listing}) > ../in.list
       tar cf ../all.tar --format=posix .; cd ../out; tar xpf ../all.tar
       (${listing}) > ../out.list; cmp ../in.list ../out.list`,
      { in: 'ipfs' },
    );
  });

  test('an editor that keeps a backup, writes anew, syncs and renames loses nothing', async () => {
    const vim = 'set backup backupcopy=no writebackup backupskip= fsync';
    await daemon.shell(
      `mkdir edit; cd edit; echo one > f
       for i in 1 2 3; do
         vim -u NONE -i NONE -n -es -c '${vim}' -c "normal! Goline $i" -c wq f < /dev/null
       done
       test "$(wc -l < f)" = 4; test "$(wc -l < f~)" = 3; ls | wc -l | grep -qx 2`,
      { in: 'ipfs' },
    );
  });

  test('gcc compiles a program, and it runs', async () => {
    await daemon.shell(
      `mkdir cc; cd cc; printf '#include <stdio.h>\\nint main(void){puts("ran");return 0;}\\n' > a.c
       gcc -O1 -o a a.c; test "$(./a)" = ran; make -s a CC=gcc`,
      { in: 'ipfs' },
    );
  });

  test('cp --reflink=auto copies bytes, and cp -a everything', async () => {
    await daemon.shell(
      `mkdir cp; cd cp; head -c 3000000 /dev/urandom > a; setfattr -n user.k -v v a 2>/dev/null || true
       chmod 604 a; cp --reflink=auto a b; cmp a b; cp -a a c; cmp a c
       test "$(stat -c '%a %Y' a)" = "$(stat -c '%a %Y' c)"`,
      { in: 'ipfs' },
    );
  });

  test('find, du and ls -l agree on 10,000 files', async () => {
    await daemon.shell(
      `mkdir many; cd many
       for d in $(seq 0 9); do mkdir d$d; (cd d$d; for i in $(seq 1 1000); do : > f$i; done); done
       test "$(find . -type f | wc -l)" = 10000; test "$(ls -lR | grep -c '^-')" = 10000
       du -s . > /dev/null; rm -rf d3; test "$(find . -type f | wc -l)" = 9000`,
      { in: 'ipfs', timeoutMs: 60_000 },
    );
  });

  test('mmap writes are read back by others', async () => {
    const program = `
import mmap, os
fd = os.open('m', os.O_CREAT | os.O_RDWR)
os.ftruncate(fd, 100000)
m = mmap.mmap(fd, 100000)
m[50000:50005] = b'hello'
m.flush()
assert open('m','rb').read()[50000:50005] == b'hello'
m.close(); os.close(fd)
`;
    await daemon.run('python3', ['-c', program], { in: 'ipfs' });
  });
});
