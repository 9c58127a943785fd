# The native parts of kitfs. `npm run build:native` builds into build/Release the addon, kitfs.node, an extension that
# SQLite loads, wal_vfs.so, what stands before libfuse 2, kitfs-libfuse2.node, and two programs, kitfs-keeper and kitfs-notify.
# With AddressSanitizer and UBSan: node native/build.mjs sanitized, into a tree of its own, dist/sanitized; how it is
# run is in test/stress/sanitized.test.ts.
{
  'variables': {
    'kitfs_sanitize%': 0,
  },
  'target_defaults': {
    'cflags': [
      '-O2',
      '-Wall',
      '-Wextra',
      '-Werror=format-security',
      '-fvisibility=hidden',
      # An overflow ends the process, and does not go on with what it wrote over: the journal is whole then.
      '-fstack-protector-strong',
      '-fstack-clash-protection',
      # So that a test can read in the finished parts what every file of them was compiled with.
      '-frecord-gcc-switches',
    ],
    # A notifier's thread may outlive the environment that started it, and SQLite keeps what it registered: the code
    # must stay mapped.
    'ldflags': ['-Wl,-z,nodelete', '-Wl,-z,relro,-z,now', '-Wl,-z,noexecstack'],
    'conditions': [
      ['kitfs_sanitize==1', {
        'cflags': [
          '-fsanitize=address,undefined',
          # UBSan beside AddressSanitizer cannot be told where to write; what traps, that one reports.
          '-fsanitize-undefined-trap-on-error',
          '-fno-omit-frame-pointer',
          '-g',
        ],
        'ldflags': ['-fsanitize=address,undefined'],
      }, {
        # Not both: what the sanitizers watch, checked variants would do unseen.
        'cflags': ['-U_FORTIFY_SOURCE', '-D_FORTIFY_SOURCE=3', '-D_GLIBCXX_ASSERTIONS'],
      }],
      ['target_arch=="x64"', {'cflags': ['-fcf-protection=full']}],
      ['target_arch=="arm64"', {'cflags': ['-mbranch-protection=standard']}],
    ],
  },
  'targets': [
    {
      'target_name': 'wal_vfs',
      # Here, because node-gyp takes every target for an addon.
      'target_conditions': [['OS=="linux"', {'product_extension': 'so'}]],
      'sources': ['wal_vfs.cc'],
      # The header of the SQLite that loads it.
      'include_dirs': [
        '<!(node -p "path.dirname(require.resolve(\'better-sqlite3/package.json\'))")/deps/sqlite3',
      ],
    },
    {
      'target_name': 'kitfs',
      'sources': [
        'addon.cc',
        'arguments.cc',
        'channel.cc',
        'ending.cc',
        'failure.cc',
        'files.cc',
        'keeping.cc',
        'mount.cc',
        'fusermount.cc',
        'names.cc',
        'notifier.cc',
        'notifying.cc',
        'notify_systemd.cc',
        'xattr.cc',
      ],
      'include_dirs': [
        '<!(node -p "require(\'node-addon-api\').include_dir")',
      ],
      'defines': [
        'NAPI_VERSION=8',
        'NAPI_CPP_EXCEPTIONS',
        'NODE_ADDON_API_DISABLE_DEPRECATED',
        # An error that meets a worker thread which is being terminated has nobody to be thrown at.
        'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
        '_GNU_SOURCE',
      ],
      'cflags!': ['-fno-exceptions'],
      'cflags_cc!': ['-fno-exceptions', '-std=gnu++14'],
      'cflags_cc': ['-std=gnu++17', '-fexceptions'],
    },
    {
      'target_name': 'kitfs-keeper',
      'type': 'executable',
      'sources': ['keeper.cc', 'keeper_holds.cc', 'keeper_mount.cc', 'keeper_next.cc', 'keeper_start.cc'],
      'defines': ['_GNU_SOURCE'],
      'cflags': ['-Werror', '-fPIE'],
      'cflags_cc!': ['-std=gnu++14'],
      'cflags_cc': ['-std=gnu++17'],
      # Nothing is loaded into it that would look for its symbols.
      'ldflags!': ['-rdynamic', '-Wl,-z,nodelete'],
      'ldflags': ['-pie'],
    },
    {
      'target_name': 'kitfs-notify',
      'type': 'executable',
      'sources': ['notify.cc'],
      'defines': ['_GNU_SOURCE'],
      'cflags': ['-Werror', '-fPIE'],
      'cflags_cc!': ['-std=gnu++14'],
      'cflags_cc': ['-std=gnu++17'],
      'ldflags!': ['-rdynamic', '-Wl,-z,nodelete'],
      'ldflags': ['-pie'],
    },
    # An addon of its own, because what it exports stands before libfuse's symbols: `driver` fuse-native loads it.
    {
      'target_name': 'kitfs-libfuse2',
      'sources': ['arguments.cc', 'libfuse2.cc', 'turns.cc'],
      'include_dirs': [
        '<!(node -p "require(\'node-addon-api\').include_dir")',
      ],
      'defines': [
        'NAPI_VERSION=8',
        'NAPI_CPP_EXCEPTIONS',
        'NODE_ADDON_API_DISABLE_DEPRECATED',
        'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
        '_GNU_SOURCE',
      ],
      'cflags!': ['-fno-exceptions'],
      'cflags_cc!': ['-fno-exceptions', '-std=gnu++14'],
      'cflags_cc': ['-std=gnu++17', '-fexceptions'],
    },
  ],
}
