// Calls on a name in an open directory: the …at family, statx and getdents64. Node has them for paths
// only, and only for names that are text; a file system meets names that are not.
//
// Invariant: what is opened here is close-on-exec; symbolic links are followed only when asked.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <string>
#include <vector>

#include "addon.h"
#include "arguments.h"
#include "failure.h"

namespace kitfs {
namespace {

constexpr int64_t kPermissionsMax = 07777;
constexpr int64_t kModeMax = 0177777;
constexpr int64_t kDeviceMinorMax = 0xfffff;  // 20 bits, and 12 for the major: include/linux/kdev_t.h.
constexpr int64_t kDeviceMajorMax = 0xfff;
constexpr int64_t kRenameFlagsMax = RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT;
constexpr int64_t kDirectoryBytesMin = 1024;  // More than one entry of the longest name.
constexpr int64_t kDirectoryBytesMax = 1 << 20;
constexpr int64_t kDirectoryBytes = 32768;
constexpr size_t kLinkBytes = 4096;
constexpr size_t kLinkBytesMax = 65536;

// A name that may be empty only when the descriptor itself is meant.
std::string NameOrSelf(const Arguments& args, size_t index, const char* name, bool emptyPath) {
  return emptyPath ? args.TextOrEmpty(index, name) : args.Text(index, name);
}

Napi::Value OpenAt(const Napi::CallbackInfo& info) {
  const Arguments args(info, "openAt");
  const int dir = args.DirectoryDescriptor(0, "dirFd");
  const std::string name = args.Text(1, "name");
  const int flags = static_cast<int>(args.Integer(2, "flags", 0, INT_MAX));
  const mode_t mode = static_cast<mode_t>(args.IntegerOr(3, "mode", 0, 0, kPermissionsMax));
  long fd;
  do {
    fd = openat(dir, name.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return Napi::Number::New(info.Env(), Checked(info.Env(), fd, "openat"));
}

Napi::Value MkdirAt(const Napi::CallbackInfo& info) {
  const Arguments args(info, "mkdirAt");
  const int dir = args.DirectoryDescriptor(0, "dirFd");
  const std::string name = args.Text(1, "name");
  const mode_t mode = static_cast<mode_t>(args.Integer(2, "mode", 0, kPermissionsMax));
  Checked(info.Env(), mkdirat(dir, name.c_str(), mode), "mkdirat");
  return info.Env().Undefined();
}

Napi::Value MknodAt(const Napi::CallbackInfo& info) {
  const Arguments args(info, "mknodAt");
  const int dir = args.DirectoryDescriptor(0, "dirFd");
  const std::string name = args.Text(1, "name");
  const mode_t mode = static_cast<mode_t>(args.Integer(2, "mode", 0, kModeMax));
  const unsigned major = static_cast<unsigned>(args.Integer(3, "rdevMajor", 0, kDeviceMajorMax));
  const unsigned minor = static_cast<unsigned>(args.Integer(4, "rdevMinor", 0, kDeviceMinorMax));
  Checked(info.Env(), mknodat(dir, name.c_str(), mode, makedev(major, minor)), "mknodat");
  return info.Env().Undefined();
}

Napi::Value UnlinkAt(const Napi::CallbackInfo& info) {
  const Arguments args(info, "unlinkAt");
  const int dir = args.DirectoryDescriptor(0, "dirFd");
  const std::string name = args.Text(1, "name");
  const int flags = args.Boolean(2, "removeDirectory") ? AT_REMOVEDIR : 0;
  Checked(info.Env(), unlinkat(dir, name.c_str(), flags), "unlinkat");
  return info.Env().Undefined();
}

Napi::Value RenameAt2(const Napi::CallbackInfo& info) {
  const Arguments args(info, "renameAt2");
  const int fromDir = args.DirectoryDescriptor(0, "fromDirFd");
  const std::string from = args.Text(1, "from");
  const int toDir = args.DirectoryDescriptor(2, "toDirFd");
  const std::string to = args.Text(3, "to");
  const unsigned flags = static_cast<unsigned>(args.Integer(4, "flags", 0, kRenameFlagsMax));
  Checked(info.Env(), renameat2(fromDir, from.c_str(), toDir, to.c_str(), flags), "renameat2");
  return info.Env().Undefined();
}

Napi::Value LinkAt(const Napi::CallbackInfo& info) {
  const Arguments args(info, "linkAt");
  const Options options = args.Members(4, "options");
  const bool emptyPath = options.Flag("emptyPath");
  const int flags =
      (emptyPath ? AT_EMPTY_PATH : 0) | (options.Flag("follow") ? AT_SYMLINK_FOLLOW : 0);
  const int fromDir = args.DirectoryDescriptor(0, "fromDirFd");
  const std::string from = NameOrSelf(args, 1, "from", emptyPath);
  const int toDir = args.DirectoryDescriptor(2, "toDirFd");
  const std::string to = args.Text(3, "to");
  Checked(info.Env(), linkat(fromDir, from.c_str(), toDir, to.c_str(), flags), "linkat");
  return info.Env().Undefined();
}

Napi::Value SymlinkAt(const Napi::CallbackInfo& info) {
  const Arguments args(info, "symlinkAt");
  const std::string target = args.Text(0, "target");
  const int dir = args.DirectoryDescriptor(1, "dirFd");
  const std::string name = args.Text(2, "name");
  Checked(info.Env(), symlinkat(target.c_str(), dir, name.c_str()), "symlinkat");
  return info.Env().Undefined();
}

Napi::Value ReadlinkAt(const Napi::CallbackInfo& info) {
  const Arguments args(info, "readlinkAt");
  const bool emptyPath = args.Members(2, "options").Flag("emptyPath");
  const int dir = args.DirectoryDescriptor(0, "dirFd");
  const std::string name = NameOrSelf(args, 1, "name", emptyPath);
  // readlinkat(2) cuts off in silence: a full buffer may hold less than the whole target.
  for (size_t room = kLinkBytes;; room *= 2) {
    std::vector<char> target(room);
    const size_t length = static_cast<size_t>(Checked(
        info.Env(), readlinkat(dir, name.c_str(), target.data(), room), "readlinkat"));
    if (length < room) return Napi::Buffer<char>::Copy(info.Env(), target.data(), length);
    if (room >= kLinkBytesMax) throw SystemError(info.Env(), ENAMETOOLONG, "readlinkat");
  }
}

Napi::Object Time(Napi::Env env, const struct statx_timestamp& stamp) {
  Napi::Object time = Napi::Object::New(env);
  // Negative before 1970; 2^53 seconds are 285 million years.
  time.Set("s", Napi::Number::New(env, static_cast<double>(stamp.tv_sec)));
  time.Set("ns", Napi::Number::New(env, stamp.tv_nsec));
  return time;
}

Napi::Object Attributes(Napi::Env env, const struct statx& found) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("mask", Napi::Number::New(env, found.stx_mask));
  result.Set("mode", Napi::Number::New(env, found.stx_mode));
  result.Set("nlink", Napi::Number::New(env, found.stx_nlink));
  result.Set("uid", Napi::Number::New(env, found.stx_uid));
  result.Set("gid", Napi::Number::New(env, found.stx_gid));
  result.Set("ino", SafeNumber(env, found.stx_ino, "ino"));
  result.Set("size", SafeNumber(env, found.stx_size, "size"));
  result.Set("blocks", SafeNumber(env, found.stx_blocks, "blocks"));
  result.Set("blksize", Napi::Number::New(env, found.stx_blksize));
  result.Set("attributes", SafeNumber(env, found.stx_attributes, "attributes"));
  result.Set("attributesMask", SafeNumber(env, found.stx_attributes_mask, "attributesMask"));
  result.Set("atime", Time(env, found.stx_atime));
  result.Set("mtime", Time(env, found.stx_mtime));
  result.Set("ctime", Time(env, found.stx_ctime));
  const bool born = (found.stx_mask & STATX_BTIME) != 0;
  result.Set("btime", born ? Napi::Value(Time(env, found.stx_btime)) : env.Undefined());
  result.Set("rdevMajor", Napi::Number::New(env, found.stx_rdev_major));
  result.Set("rdevMinor", Napi::Number::New(env, found.stx_rdev_minor));
  result.Set("devMajor", Napi::Number::New(env, found.stx_dev_major));
  result.Set("devMinor", Napi::Number::New(env, found.stx_dev_minor));
  return result;
}

Napi::Value Statx(const Napi::CallbackInfo& info) {
  const Arguments args(info, "statx");
  const Options options = args.Members(2, "options");
  const bool emptyPath = options.Flag("emptyPath");
  const int flags = (emptyPath ? AT_EMPTY_PATH : 0) |
                    (options.Flag("follow") ? 0 : AT_SYMLINK_NOFOLLOW) | AT_NO_AUTOMOUNT;
  const int dir = args.DirectoryDescriptor(0, "dirFd");
  const std::string name = NameOrSelf(args, 1, "name", emptyPath);
  struct statx found;
  Checked(info.Env(),
          statx(dir, name.c_str(), flags, STATX_BASIC_STATS | STATX_BTIME, &found), "statx");
  return Attributes(info.Env(), found);
}

// What getdents64(2) fills the buffer with: struct linux_dirent64.
struct Entry {
  uint64_t ino;
  int64_t next;
  uint16_t length;
  uint8_t type;
};
constexpr size_t kEntryName = 19;  // Where the name begins; sizeof(Entry) has padding after `type`.

bool IsDot(const char* name) {
  return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

// Appends the entries of one filled buffer, without "." and "..".
void AppendEntries(Napi::Env env, Napi::Array list, const std::vector<char>& bytes, size_t filled) {
  for (size_t at = 0; at < filled;) {
    Entry entry;
    memcpy(&entry, &bytes[at], kEntryName);
    const char* name = &bytes[at + kEntryName];
    at += entry.length;
    if (IsDot(name)) continue;
    const Napi::HandleScope scope(env);
    Napi::Object object = Napi::Object::New(env);
    object.Set("name", Napi::Buffer<char>::Copy(env, name, strlen(name)));
    object.Set("ino", SafeNumber(env, entry.ino, "ino"));
    object.Set("type", Napi::Number::New(env, entry.type));
    list.Set(list.Length(), object);
  }
}

Napi::Value ReadDirectory(const Napi::CallbackInfo& info) {
  const Arguments args(info, "readDirectory");
  const Napi::Env env = info.Env();
  const int fd = args.Descriptor(0, "fd");
  const size_t room = static_cast<size_t>(args.IntegerOr(
      1, "bytesMax", kDirectoryBytes, kDirectoryBytesMin, kDirectoryBytesMax));
  std::vector<char> bytes(room);
  const Napi::Array list = Napi::Array::New(env);
  // An empty answer means the end, so a buffer with nothing but dots in it is not answered.
  while (list.Length() == 0) {
    const long filled = Checked(env, syscall(SYS_getdents64, fd, bytes.data(), room), "getdents64");
    if (filled == 0) break;
    AppendEntries(env, list, bytes, static_cast<size_t>(filled));
  }
  return list;
}

}  // namespace

void AddNames(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "openAt", OpenAt);
  Add(env, exports, "mkdirAt", MkdirAt);
  Add(env, exports, "mknodAt", MknodAt);
  Add(env, exports, "unlinkAt", UnlinkAt);
  Add(env, exports, "renameAt2", RenameAt2);
  Add(env, exports, "linkAt", LinkAt);
  Add(env, exports, "symlinkAt", SymlinkAt);
  Add(env, exports, "readlinkAt", ReadlinkAt);
  Add(env, exports, "statx", Statx);
  Add(env, exports, "readDirectory", ReadDirectory);
}

}  // namespace kitfs
