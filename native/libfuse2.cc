// What fuse-native keeps to itself, said to JavaScript. That package hands over a path as UTF-8, a time
// in milliseconds (and the access time twice), and never who asks. This addon stands between it and
// libfuse: it defines fuse_new and fuse_destroy, and because it is loaded first, with RTLD_GLOBAL, the
// package's calls come here. Each operation is given to the package under a number instead of its path;
// by that number JavaScript asks what the operation is, and leaves what the package would garble
// (turns.h).
//
// Invariants: one process mounts once in this way, a second fuse_new is refused; nothing but the
// process ends what is registered here. Loaded only when the driver fuse-native is chosen.
#include "libfuse2.h"

#include <dlfcn.h>

#include <cerrno>
#include <cstdio>
#include <string>

#include "turns.h"

namespace kitfs {
namespace {

using libfuse2::ConnectionInfo;
using libfuse2::Context;
using libfuse2::FileInfo;
using libfuse2::Fill;
using libfuse2::Operations;

struct ThreadTurn {
  Turn* turn = nullptr;
  ~ThreadTurn() {
    if (turn != nullptr) AllTurns().Leave(turn);
  }
};
thread_local ThreadTurn mine;

// The package's own operations.
Operations inner;
bool is_mounted = false;

// libfuse's own; null when it is not loaded. Without a version dlsym(3) may give fuse_new of libfuse 1,
// which takes other arguments; a C library without versions has no choice.
void* Real(const char* name, [[maybe_unused]] const char* version) {
  void* library = dlopen("libfuse.so.2", RTLD_LAZY | RTLD_NOLOAD);
#ifdef __GLIBC__
  void* found = library == nullptr ? nullptr : dlvsym(library, name, version);
#else
  void* found = library == nullptr ? nullptr : dlsym(library, name);
#endif
  if (library != nullptr) dlclose(library);  // The package keeps it loaded.
  return found;
}

Context CurrentContext() {
  using GetContext = Context* (*)();
  static const auto get = reinterpret_cast<GetContext>(Real("fuse_get_context", "FUSE_2.8"));
  return *get();
}

// What an operation has besides its path.
struct Extra {
  const char* other = nullptr;
  FileInfo* info = nullptr;
  size_t room = 0;
  const struct timespec* times = nullptr;
  bool allocates = false;
  int allocate_mode = 0;
  off_t allocate_from = 0;
  off_t allocate_bytes = 0;
};

// Runs `call` with the number of this thread's turn; `take` then fetches what was left there.
template <typename Call, typename Take>
int Serve(const char* path, const Extra& extra, Call call, Take take) {
  if (mine.turn == nullptr) mine.turn = AllTurns().Enter();
  Turn* turn = mine.turn;
  if (turn == nullptr) return -EBUSY;
  turn->has_path = path != nullptr;
  turn->path = path == nullptr ? "" : path;
  turn->other = extra.other == nullptr ? "" : extra.other;
  turn->who = CurrentContext();
  turn->flags = extra.info == nullptr ? 0 : extra.info->flags;
  turn->is_writeback = extra.info != nullptr && extra.info->writepage != 0;
  turn->fh = extra.info == nullptr ? 0 : extra.info->fh;
  turn->room = extra.room;
  for (int i = 0; i < 2; ++i) turn->times[i] = extra.times == nullptr ? timespec{} : extra.times[i];
  turn->allocates = extra.allocates;
  turn->allocate_mode = extra.allocate_mode;
  turn->allocate_from = extra.allocate_from;
  turn->allocate_bytes = extra.allocate_bytes;
  turn->is_direct = false;
  turn->stat = {};
  turn->name.clear();
  turn->entries.clear();
  AllTurns().SetWaits(turn, true);
  const int result = call(turn->number.c_str());
  AllTurns().SetWaits(turn, false);
  if (result >= 0) take(*turn);
  return result;
}

template <typename Call>
int Serve(const char* path, const Extra& extra, Call call) {
  return Serve(path, extra, call, [](const Turn&) {});
}

// The operations that need nothing but their path, and what fuse-native hands on as it is.
template <auto Member>
struct Plain;
template <typename... Rest, int (*Operations::*Member)(const char*, Rest...)>
struct Plain<Member> {
  static int Call(const char* path, Rest... rest) {
    return Serve(path, {}, [&](const char* number) { return (inner.*Member)(number, rest...); });
  }
};

// A default ACL takes the place of the umask, so the umask must not be applied before.
void* Initialize(ConnectionInfo* info) {
  if ((info->capable & libfuse2::kDontMask) != 0) info->want |= libfuse2::kDontMask;
  return inner.init(info);
}

int GetAttributes(const char* path, struct stat* stat) {
  return Serve(
      path, {}, [&](const char* number) { return inner.getattr(number, stat); },
      [&](const Turn& turn) { *stat = turn.stat; });
}

int GetFileAttributes(const char* path, struct stat* stat, FileInfo* info) {
  return Serve(
      path, {nullptr, info}, [&](const char* number) { return inner.fgetattr(number, stat, info); },
      [&](const Turn& turn) { *stat = turn.stat; });
}

int ReadLink(const char* path, char* into, size_t room) {
  return Serve(
      path, {nullptr, nullptr, room},
      [&](const char* number) { return inner.readlink(number, into, room); },
      [&](const Turn& turn) { snprintf(into, room, "%s", turn.name.c_str()); });
}

// The path of the two that is new comes second: fuse-native needs a number in the first place.
int Symlink(const char* target, const char* path) {
  return Serve(path, {target},
               [&](const char* number) { return inner.symlink(number, number); });
}

int Rename(const char* from, const char* to) {
  return Serve(from, {to}, [&](const char* number) { return inner.rename(number, number); });
}

int Link(const char* from, const char* to) {
  return Serve(from, {to}, [&](const char* number) { return inner.link(number, number); });
}

int Open(const char* path, FileInfo* info) {
  return Serve(
      path, {nullptr, info}, [&](const char* number) { return inner.open(number, info); },
      [&](const Turn& turn) { info->direct_io = turn.is_direct ? 1 : 0; });
}

int Create(const char* path, mode_t mode, FileInfo* info) {
  return Serve(path, {nullptr, info},
               [&](const char* number) { return inner.create(number, mode, info); });
}

int Read(const char* path, char* into, size_t room, off_t offset, FileInfo* info) {
  return Serve(path, {nullptr, info}, [&](const char* number) {
    return inner.read(number, into, room, offset, info);
  });
}

int Write(const char* path, const char* bytes, size_t size, off_t offset, FileInfo* info) {
  return Serve(path, {nullptr, info}, [&](const char* number) {
    return inner.write(number, bytes, size, offset, info);
  });
}

int Release(const char* path, FileInfo* info) {
  return Serve(path, {nullptr, info},
               [&](const char* number) { return inner.release(number, info); });
}

int Sync(const char* path, int data_only, FileInfo* info) {
  return Serve(path, {nullptr, info},
               [&](const char* number) { return inner.fsync(number, data_only, info); });
}

int SyncDirectory(const char* path, int data_only, FileInfo* info) {
  return Serve(path, {nullptr, info},
               [&](const char* number) { return inner.fsyncdir(number, data_only, info); });
}

int TruncateFile(const char* path, off_t size, FileInfo* info) {
  return Serve(path, {nullptr, info},
               [&](const char* number) { return inner.ftruncate(number, size, info); });
}

// The package has no such operation. It travels as one whose answer is a number too.
int Allocate(const char* path, int mode, off_t from, off_t bytes, FileInfo* info) {
  return Serve(path, {nullptr, info, 0, nullptr, true, mode, from, bytes},
               [&](const char* number) { return inner.ftruncate(number, bytes, info); });
}

int OpenDirectory(const char* path, FileInfo* info) {
  return Serve(path, {nullptr, info},
               [&](const char* number) { return inner.opendir(number, info); });
}

int ReleaseDirectory(const char* path, FileInfo* info) {
  return Serve(path, {nullptr, info},
               [&](const char* number) { return inner.releasedir(number, info); });
}

int ReadDirectory(const char* path, void* into, Fill fill, off_t offset, FileInfo* info) {
  const Fill ignore = [](void*, const char*, const struct stat*, off_t) { return 0; };
  return Serve(
      path, {nullptr, info},
      [&](const char* number) { return inner.readdir(number, into, ignore, offset, info); },
      [&](const Turn& turn) {
        for (const Entry& entry : turn.entries) {
          if (fill(into, entry.name.c_str(), &entry.stat, 0) != 0) return;
        }
      });
}

int SetTimes(const char* path, const struct timespec times[2]) {
  return Serve(path, {nullptr, nullptr, 0, times},
               [&](const char* number) { return inner.utimens(number, times); });
}

int SetXattr(const char* path, const char* name, const char* value, size_t size, int flags) {
  return Serve(path, {name}, [&](const char* number) {
    return inner.setxattr(number, number, value, size, flags);
  });
}

int GetXattr(const char* path, const char* name, char* into, size_t room) {
  return Serve(path, {name, nullptr, room}, [&](const char* number) {
    return inner.getxattr(number, number, into, room);
  });
}

int ListXattrs(const char* path, char* into, size_t room) {
  return Serve(
      path, {nullptr, nullptr, room},
      [&](const char* number) { return inner.listxattr(number, into, room); });
}

int RemoveXattr(const char* path, const char* name) {
  return Serve(path, {name}, [&](const char* number) { return inner.removexattr(number, number); });
}

// What the package does not offer stays absent, so that libfuse answers it.
template <typename Function>
void Replace(Function*& place, Function* replacement) {
  if (place != nullptr) place = replacement;
}

Operations Outer() {
  Operations outer = inner;
  if (inner.init != nullptr) outer.init = Initialize;
  Replace(outer.getattr, GetAttributes);
  Replace(outer.fgetattr, GetFileAttributes);
  Replace(outer.readlink, ReadLink);
  Replace(outer.mknod, Plain<&Operations::mknod>::Call);
  Replace(outer.mkdir, Plain<&Operations::mkdir>::Call);
  Replace(outer.unlink, Plain<&Operations::unlink>::Call);
  Replace(outer.rmdir, Plain<&Operations::rmdir>::Call);
  Replace(outer.symlink, Symlink);
  Replace(outer.rename, Rename);
  Replace(outer.link, Link);
  Replace(outer.chmod, Plain<&Operations::chmod>::Call);
  Replace(outer.chown, Plain<&Operations::chown>::Call);
  Replace(outer.truncate, Plain<&Operations::truncate>::Call);
  Replace(outer.ftruncate, TruncateFile);
  Replace(outer.utimens, SetTimes);
  Replace(outer.open, Open);
  Replace(outer.create, Create);
  Replace(outer.read, Read);
  Replace(outer.write, Write);
  Replace(outer.release, Release);
  Replace(outer.fsync, Sync);
  Replace(outer.fsyncdir, SyncDirectory);
  Replace(outer.statfs, Plain<&Operations::statfs>::Call);
  Replace(outer.setxattr, SetXattr);
  Replace(outer.getxattr, GetXattr);
  Replace(outer.listxattr, ListXattrs);
  Replace(outer.removexattr, RemoveXattr);
  Replace(outer.opendir, OpenDirectory);
  Replace(outer.readdir, ReadDirectory);
  Replace(outer.releasedir, ReleaseDirectory);
  if (inner.ftruncate != nullptr) outer.fallocate = Allocate;
  // Open files are known by their handle: a path is neither made nor needed for them.
  outer.flag_nullpath_ok = 1;
  outer.flag_nopath = 1;
  outer.flag_utime_omit_ok = 1;
  return outer;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) void* fuse_new(void* channel, void* args,
                                                      const Operations* operations, size_t size,
                                                      void* user) {
  using New = void* (*)(void*, void*, const Operations*, size_t, void*);
  const auto real = reinterpret_cast<New>(Real("fuse_new", "FUSE_2.6"));
  // A library of another layout, or a second mount.
  if (real == nullptr || size != sizeof(Operations) || is_mounted) return nullptr;
  inner = *operations;
  is_mounted = true;
  const Operations outer = Outer();  // libfuse copies it.
  return real(channel, args, &outer, sizeof outer, user);
}

// The package calls it last, on a thread of its own, when the kernel has let go of the mount.
__attribute__((visibility("default"))) void fuse_destroy(void* fuse) {
  using Destroy = void (*)(void*);
  const auto real = reinterpret_cast<Destroy>(Real("fuse_destroy", "FUSE_2.2"));
  if (real != nullptr) real(fuse);
  TellEnd();
}

}  // extern "C"

}  // namespace kitfs
