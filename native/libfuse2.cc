// What fuse-native keeps to itself, said to JavaScript. That package hands over a path as UTF-8, a time
// in milliseconds (and the access time twice), and never who asks. This addon stands between it and
// libfuse: it defines fuse_new and fuse_destroy, and because it is loaded first, with RTLD_GLOBAL, the
// package's calls come here. Each operation is given to the package under a number instead of its path;
// by that number JavaScript asks here what the operation is (`describe`), and leaves here what the
// package would garble (`giveStat`, `giveName`, `giveEntry`).
//
// Invariants:
// - A Turn belongs to one thread of libfuse, which waits inside the package while the event loop uses
//   the Turn: the two never touch it at once. A number means a Turn only while its thread waits.
// - One process mounts once in this way; a second fuse_new is refused.
// - Loaded by src/base/native.ts only, and only when the driver fuse-native is chosen.
#include <dlfcn.h>
#include <napi.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "addon.h"
#include "arguments.h"
#include "libfuse2.h"

namespace kitfs {
namespace {

using libfuse2::Context;
using libfuse2::FileInfo;
using libfuse2::Fill;
using libfuse2::Operations;

// Threads of libfuse at once; one more operation is answered EBUSY.
constexpr size_t kTurnsMax = 1024;
constexpr int64_t kInodeMax = kSafeIntegerMax;

struct Entry {
  std::string name;
  struct stat stat;
};

// One operation: what libfuse asks, and what JavaScript leaves for it.
struct Turn {
  std::string number;  // Its index in the table, as fuse-native hands it on in place of the path.
  bool waits = false;

  bool has_path = false;
  std::string path;
  std::string other;  // The second path, the target of a link, or the name of an attribute.
  Context who = {};
  int flags = 0;
  uint64_t fh = 0;
  size_t room = 0;
  struct timespec times[2] = {};
  bool allocates = false;  // Then the package calls it ftruncate, which it is not.
  int allocate_mode = 0;
  off_t allocate_from = 0;
  off_t allocate_bytes = 0;

  bool is_direct = false;
  struct stat stat = {};
  std::string name;
  std::vector<Entry> entries;
};

class Turns {
 public:
  // Null when all are taken. The caller's until `Leave`.
  Turn* Enter() {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (size_t index = 0; index < kTurnsMax; ++index) {
      if (turns_[index] != nullptr) continue;
      turns_[index] = new Turn();
      turns_[index]->number = std::to_string(index);
      return turns_[index];
    }
    return nullptr;
  }

  void Leave(Turn* turn) {
    const std::lock_guard<std::mutex> lock(mutex_);
    turns_[std::stoul(turn->number)] = nullptr;
    delete turn;
  }

  void SetWaits(Turn* turn, bool waits) {
    const std::lock_guard<std::mutex> lock(mutex_);
    turn->waits = waits;
  }

  Turn* Find(size_t index) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Turn* turn = turns_[index];
    return turn != nullptr && turn->waits ? turn : nullptr;
  }

 private:
  std::mutex mutex_;
  std::array<Turn*, kTurnsMax> turns_ = {};
};

// Never destroyed: threads of libfuse may outlive everything but the process.
Turns& AllTurns() {
  static Turns* turns = new Turns();
  return *turns;
}

struct ThreadTurn {
  Turn* turn = nullptr;
  ~ThreadTurn() {
    if (turn != nullptr) AllTurns().Leave(turn);
  }
};
thread_local ThreadTurn mine;

// The package's own operations, and whom to tell when its thread has ended.
Operations inner;
bool is_mounted = false;
Napi::ThreadSafeFunction on_end;

void* Real(const char* name, const char* version) {
  void* library = dlopen("libfuse.so.2", RTLD_LAZY | RTLD_NOLOAD);
  void* found = library == nullptr ? nullptr : dlvsym(library, name, version);
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

Turn& TurnAt(const Arguments& args) {
  const int64_t number = args.Integer(0, "number", 0, kTurnsMax - 1);
  Turn* turn = AllTurns().Find(static_cast<size_t>(number));
  if (turn == nullptr) throw args.OutOfRange("number", "must be that of a turn that waits");
  return *turn;
}

Napi::Value Latin1(Napi::Env env, const std::string& bytes) {
  napi_value text = nullptr;
  NAPI_THROW_IF_FAILED(env, napi_create_string_latin1(env, bytes.data(), bytes.size(), &text),
                       env.Undefined());
  return Napi::Value(env, text);
}

Napi::Value TimeOf(Napi::Env env, const struct timespec& time) {
  if (time.tv_nsec == UTIME_OMIT) return env.Undefined();
  if (time.tv_nsec == UTIME_NOW) return Napi::String::New(env, "now");
  Napi::Object object = Napi::Object::New(env);
  object.Set("s", Napi::Number::New(env, static_cast<double>(time.tv_sec)));
  object.Set("ns", Napi::Number::New(env, static_cast<double>(time.tv_nsec)));
  return object;
}

Napi::Value Describe(const Napi::CallbackInfo& info) {
  const Arguments args(info, "describe");
  const Napi::Env env = info.Env();
  const Turn& turn = TurnAt(args);
  Napi::Object object = Napi::Object::New(env);
  if (turn.has_path) object.Set("path", Latin1(env, turn.path));
  object.Set("other", Latin1(env, turn.other));
  object.Set("uid", Napi::Number::New(env, turn.who.uid));
  object.Set("gid", Napi::Number::New(env, turn.who.gid));
  object.Set("pid", Napi::Number::New(env, turn.who.pid));
  object.Set("flags", Napi::Number::New(env, static_cast<uint32_t>(turn.flags)));
  object.Set("fh", Napi::Number::New(env, static_cast<double>(turn.fh)));
  object.Set("room", Napi::Number::New(env, static_cast<double>(turn.room)));
  if (turn.allocates) {
    Napi::Object allocate = Napi::Object::New(env);
    allocate.Set("mode", Napi::Number::New(env, turn.allocate_mode));
    allocate.Set("position", Napi::Number::New(env, static_cast<double>(turn.allocate_from)));
    allocate.Set("length", Napi::Number::New(env, static_cast<double>(turn.allocate_bytes)));
    object.Set("allocate", allocate);
  }
  object.Set("atime", TimeOf(env, turn.times[0]));
  object.Set("mtime", TimeOf(env, turn.times[1]));
  return object;
}

struct timespec TimeAt(Napi::Env env, const Napi::Array& numbers, uint32_t index) {
  struct timespec time;
  time.tv_sec = CheckedInteger(env, numbers.Get(index), "giveStat: seconds", -kSafeIntegerMax,
                               kSafeIntegerMax);
  time.tv_nsec =
      CheckedInteger(env, numbers.Get(index + 1), "giveStat: nanoseconds", 0, 999999999);
  return time;
}

Napi::Value GiveStat(const Napi::CallbackInfo& info) {
  const Arguments args(info, "giveStat");
  const Napi::Env env = info.Env();
  Turn& turn = TurnAt(args);
  const Napi::Array numbers = args.List(1, "numbers", 14);
  const auto number = [&](uint32_t index, int64_t most) {
    return CheckedInteger(env, numbers.Get(index), "giveStat: numbers", 0, most);
  };
  struct stat& stat = turn.stat;
  stat.st_ino = static_cast<ino_t>(number(0, kInodeMax));
  stat.st_mode = static_cast<mode_t>(number(1, UINT32_MAX));
  stat.st_nlink = static_cast<nlink_t>(number(2, UINT32_MAX));
  stat.st_uid = static_cast<uid_t>(number(3, UINT32_MAX));
  stat.st_gid = static_cast<gid_t>(number(4, UINT32_MAX));
  stat.st_rdev = static_cast<dev_t>(number(5, UINT32_MAX));
  stat.st_size = number(6, kSafeIntegerMax);
  stat.st_blocks = number(7, kSafeIntegerMax);
  stat.st_atim = TimeAt(env, numbers, 8);
  stat.st_mtim = TimeAt(env, numbers, 10);
  stat.st_ctim = TimeAt(env, numbers, 12);
  return env.Undefined();
}

Napi::Value GiveName(const Napi::CallbackInfo& info) {
  const Arguments args(info, "giveName");
  Turn& turn = TurnAt(args);
  turn.name = args.Text(1, "name");
  return info.Env().Undefined();
}

Napi::Value GiveEntry(const Napi::CallbackInfo& info) {
  const Arguments args(info, "giveEntry");
  Turn& turn = TurnAt(args);
  Entry entry = {args.Text(1, "name"), {}};
  entry.stat.st_ino = static_cast<ino_t>(args.Integer(2, "ino", 0, kInodeMax));
  entry.stat.st_mode = static_cast<mode_t>(args.Integer(3, "type", 0, UINT32_MAX));
  turn.entries.push_back(std::move(entry));
  return info.Env().Undefined();
}

Napi::Value GiveDirect(const Napi::CallbackInfo& info) {
  const Arguments args(info, "giveDirect");
  TurnAt(args).is_direct = true;
  return info.Env().Undefined();
}

Napi::Value WatchEnd(const Napi::CallbackInfo& info) {
  const Arguments args(info, "watchEnd");
  const Napi::Function told = args.Function(0, "told");
  if (on_end) throw args.Refuse("told", "must be given once");
  on_end = Napi::ThreadSafeFunction::New(info.Env(), told, "kitfs.libfuse2", 1, 1);
  on_end.Unref(info.Env());
  return info.Env().Undefined();
}

Napi::Object Start(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "describe", Describe);
  Add(env, exports, "giveStat", GiveStat);
  Add(env, exports, "giveName", GiveName);
  Add(env, exports, "giveEntry", GiveEntry);
  Add(env, exports, "giveDirect", GiveDirect);
  Add(env, exports, "watchEnd", WatchEnd);
  return exports;
}

NODE_API_MODULE(NODE_GYP_MODULE_NAME, Start)

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
  if (on_end) on_end.NonBlockingCall();
}

}  // extern "C"

}  // namespace kitfs
