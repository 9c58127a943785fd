// Extended attributes, of an open file or of a path. A path is not followed through a last symbolic
// link unless asked; a descriptor opened with O_PATH is reached as /proc/self/fd/N with `follow`.
#include <sys/xattr.h>

#include <cstring>
#include <string>
#include <vector>

#include "addon.h"
#include "arguments.h"
#include "failure.h"

namespace kitfs {
namespace {

// The kernel's own bounds, of one value and of the list of names: XATTR_SIZE_MAX, XATTR_LIST_MAX.
constexpr size_t kValueBytesMax = 65536;
constexpr size_t kListBytesMax = 65536;
constexpr int64_t kSetFlagsMax = XATTR_CREATE | XATTR_REPLACE;

// The file whose attributes are meant: a descriptor, or a path.
struct Target {
  int fd = -1;
  std::string path;
  bool follow = false;

  bool IsOpen() const { return fd >= 0; }
};

// The target is the first argument; `options` says where { follow } may be.
Target ReadTarget(const Arguments& args, size_t options) {
  Target target;
  target.follow = args.Members(options, "options").Flag("follow");
  if (args.IsNumber(0)) {
    target.fd = args.Descriptor(0, "target");
  } else {
    target.path = args.Text(0, "target");
  }
  return target;
}

ssize_t Get(const Target& file, const char* name, void* value, size_t room) {
  if (file.IsOpen()) return fgetxattr(file.fd, name, value, room);
  const char* path = file.path.c_str();
  return file.follow ? getxattr(path, name, value, room) : lgetxattr(path, name, value, room);
}

ssize_t List(const Target& file, char* names, size_t room) {
  if (file.IsOpen()) return flistxattr(file.fd, names, room);
  const char* path = file.path.c_str();
  return file.follow ? listxattr(path, names, room) : llistxattr(path, names, room);
}

int Set(const Target& file, const char* name, const ByteSpan& value, int flags) {
  if (file.IsOpen()) return fsetxattr(file.fd, name, value.bytes, value.length, flags);
  const char* path = file.path.c_str();
  return file.follow ? setxattr(path, name, value.bytes, value.length, flags)
                     : lsetxattr(path, name, value.bytes, value.length, flags);
}

int Remove(const Target& file, const char* name) {
  if (file.IsOpen()) return fremovexattr(file.fd, name);
  const char* path = file.path.c_str();
  return file.follow ? removexattr(path, name) : lremovexattr(path, name);
}

Napi::Value GetXattr(const Napi::CallbackInfo& info) {
  const Arguments args(info, "getXattr");
  const Target file = ReadTarget(args, 2);
  const std::string name = args.Text(1, "name");
  std::vector<char> value(kValueBytesMax);
  const long length =
      Checked(info.Env(), Get(file, name.c_str(), value.data(), value.size()), "getxattr");
  return Napi::Buffer<char>::Copy(info.Env(), value.data(), static_cast<size_t>(length));
}

Napi::Value SetXattr(const Napi::CallbackInfo& info) {
  const Arguments args(info, "setXattr");
  const Target file = ReadTarget(args, 4);
  const std::string name = args.Text(1, "name");
  const int flags = static_cast<int>(args.IntegerOr(3, "flags", 0, 0, kSetFlagsMax));
  const ByteSpan value = args.Bytes(2, "value");
  Checked(info.Env(), Set(file, name.c_str(), value, flags), "setxattr");
  return info.Env().Undefined();
}

Napi::Value ListXattr(const Napi::CallbackInfo& info) {
  const Arguments args(info, "listXattr");
  const Napi::Env env = info.Env();
  const Target file = ReadTarget(args, 1);
  std::vector<char> names(kListBytesMax);
  const size_t filled = static_cast<size_t>(
      Checked(env, List(file, names.data(), names.size()), "listxattr"));
  const Napi::Array list = Napi::Array::New(env);
  for (size_t at = 0; at < filled;) {
    const size_t length = strnlen(&names[at], filled - at);
    const Napi::HandleScope scope(env);
    list.Set(list.Length(), Napi::Buffer<char>::Copy(env, &names[at], length));
    at += length + 1;
  }
  return list;
}

Napi::Value RemoveXattr(const Napi::CallbackInfo& info) {
  const Arguments args(info, "removeXattr");
  const Target file = ReadTarget(args, 2);
  const std::string name = args.Text(1, "name");
  Checked(info.Env(), Remove(file, name.c_str()), "removexattr");
  return info.Env().Undefined();
}

}  // namespace

void AddXattrs(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "getXattr", GetXattr);
  Add(env, exports, "setXattr", SetXattr);
  Add(env, exports, "listXattr", ListXattr);
  Add(env, exports, "removeXattr", RemoveXattr);
}

}  // namespace kitfs
