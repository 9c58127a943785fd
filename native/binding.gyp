# The native addon of kitfs. Built by `npm run build:native` into build/Release/kitfs.node.
# With AddressSanitizer and UBSan: node-gyp rebuild -C native --kitfs-sanitize=1, then run node with
# LD_PRELOAD="$(gcc -print-file-name=libasan.so)" and ASAN_OPTIONS=detect_leaks=0 (V8 leaks by design).
{
  'variables': {
    'kitfs_sanitize%': 0,
  },
  'targets': [
    {
      'target_name': 'kitfs',
      'sources': [
        'addon.cc',
        'arguments.cc',
        'channel.cc',
        'failure.cc',
        'files.cc',
        'mount.cc',
        'fusermount.cc',
        'names.cc',
        'notifier.cc',
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
      'cflags': ['-O2', '-Wall', '-Wextra', '-Werror=format-security', '-fvisibility=hidden'],
      'cflags_cc': ['-std=gnu++17', '-fexceptions'],
      # A notifier's thread may outlive the environment that started it, so its code must stay mapped.
      'ldflags': ['-Wl,-z,nodelete', '-Wl,-z,relro,-z,now'],
      'conditions': [
        ['kitfs_sanitize==1', {
          'cflags': ['-fsanitize=address,undefined', '-fno-omit-frame-pointer', '-g'],
          'ldflags': ['-fsanitize=address,undefined'],
        }],
      ],
    },
  ],
}
