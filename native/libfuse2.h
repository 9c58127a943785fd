// The part of libfuse 2's binary interface (FUSE_USE_VERSION 26 to 29, /usr/include/fuse/fuse.h) that
// libfuse2.cc stands in front of. Version 2 is final, so its layout is too. Written out here, because
// the headers are on few machines, and the fallback must not make the build need them.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <ctime>

namespace kitfs::libfuse2 {

struct Context {
  void* fuse;
  uid_t uid;
  gid_t gid;
  pid_t pid;
  void* private_data;
  mode_t umask;
};

struct FileInfo {
  int flags;
  unsigned long fh_old;
  int writepage;
  unsigned int direct_io : 1;
  unsigned int keep_cache : 1;
  unsigned int flush : 1;
  unsigned int nonseekable : 1;
  unsigned int flock_release : 1;
  unsigned int padding : 27;
  uint64_t fh;
  uint64_t lock_owner;
};

// FUSE_CAP_DONT_MASK: the file system applies the umask.
constexpr unsigned kDontMask = 1 << 6;

struct ConnectionInfo {
  unsigned proto_major;
  unsigned proto_minor;
  unsigned async_read;
  unsigned max_write;
  unsigned max_readahead;
  unsigned capable;
  unsigned want;
  unsigned rest[25];
};

using Fill = int (*)(void* into, const char* name, const struct stat* stat, off_t offset);

// Members that fuse-native does not set are untyped: they stay null.
struct Operations {
  int (*getattr)(const char*, struct stat*);
  int (*readlink)(const char*, char*, size_t);
  void* getdir;
  int (*mknod)(const char*, mode_t, dev_t);
  int (*mkdir)(const char*, mode_t);
  int (*unlink)(const char*);
  int (*rmdir)(const char*);
  int (*symlink)(const char*, const char*);
  int (*rename)(const char*, const char*);
  int (*link)(const char*, const char*);
  int (*chmod)(const char*, mode_t);
  int (*chown)(const char*, uid_t, gid_t);
  int (*truncate)(const char*, off_t);
  void* utime;
  int (*open)(const char*, FileInfo*);
  int (*read)(const char*, char*, size_t, off_t, FileInfo*);
  int (*write)(const char*, const char*, size_t, off_t, FileInfo*);
  int (*statfs)(const char*, struct statvfs*);
  int (*flush)(const char*, FileInfo*);
  int (*release)(const char*, FileInfo*);
  int (*fsync)(const char*, int, FileInfo*);
  int (*setxattr)(const char*, const char*, const char*, size_t, int);
  int (*getxattr)(const char*, const char*, char*, size_t);
  int (*listxattr)(const char*, char*, size_t);
  int (*removexattr)(const char*, const char*);
  int (*opendir)(const char*, FileInfo*);
  int (*readdir)(const char*, void*, Fill, off_t, FileInfo*);
  int (*releasedir)(const char*, FileInfo*);
  int (*fsyncdir)(const char*, int, FileInfo*);
  void* (*init)(ConnectionInfo*);
  void (*destroy)(void*);
  int (*access)(const char*, int);
  int (*create)(const char*, mode_t, FileInfo*);
  int (*ftruncate)(const char*, off_t, FileInfo*);
  int (*fgetattr)(const char*, struct stat*, FileInfo*);
  void* lock;
  int (*utimens)(const char*, const struct timespec[2]);
  void* bmap;
  unsigned int flag_nullpath_ok : 1;
  unsigned int flag_nopath : 1;
  unsigned int flag_utime_omit_ok : 1;
  unsigned int flag_reserved : 29;
  void* ioctl;
  void* poll;
  void* write_buf;
  void* read_buf;
  void* flock;
  int (*fallocate)(const char*, int, off_t, off_t, FileInfo*);
};

}  // namespace kitfs::libfuse2
