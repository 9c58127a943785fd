// Mounting by mount(2), unmounting, and the passthrough requests of an open FUSE connection.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <string>

#include "addon.h"
#include "arguments.h"
#include "failure.h"
#include "fuse_device.h"

namespace kitfs {
namespace {

Napi::Value OpenFuseDevice(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const long fd = Checked(env, open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK), "open");
  return Napi::Number::New(env, fd);
}

// "fuse", or "fuse." and a subtype of letters, digits, '_' and '-'.
bool IsFuseType(const std::string& type) {
  const std::string family = "fuse";
  if (type.compare(0, family.size(), family) != 0) return false;
  if (type.size() == family.size()) return true;
  if (type[family.size()] != '.' || type.size() == family.size() + 1) return false;
  for (const char c : type.substr(family.size() + 1)) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '-';
    if (!plain) return false;
  }
  return true;
}

struct MountOptions {
  std::string source;
  std::string type;
  unsigned long flags = 0;
  std::string text;  // What follows the identity in the option string; begins with a comma.
};

MountOptions ReadMountOptions(const Arguments& args) {
  const Options members = args.Members(2, "options");
  MountOptions options;
  options.source = members.Text("source");
  if (options.source.find_first_of(",\n") != std::string::npos) {
    throw args.OutOfRange("source", "must not contain a comma or a line break");
  }
  options.type = members.Text("fsType");
  if (!IsFuseType(options.type)) throw args.OutOfRange("fsType", "must be fuse or fuse.subtype");
  if (members.Flag("readOnly")) options.flags |= MS_RDONLY;
  if (members.Flag("nosuid")) options.flags |= MS_NOSUID;
  if (members.Flag("nodev")) options.flags |= MS_NODEV;
  if (members.Flag("allowOther")) options.text += ",allow_other";
  if (members.Flag("defaultPermissions")) options.text += ",default_permissions";
  const int64_t readBytes = members.IntegerOr("maxReadBytes", 0, 0, INT_MAX);
  if (readBytes > 0) options.text += ",max_read=" + std::to_string(readBytes);
  return options;
}

Napi::Value MountFuse(const Napi::CallbackInfo& info) {
  const Arguments args(info, "mountFuse");
  const Napi::Env env = info.Env();
  const int fd = args.Descriptor(0, "fd");
  const std::string dir = args.Text(1, "dir");
  const MountOptions options = ReadMountOptions(args);

  struct stat root;
  Checked(env, stat(dir.c_str(), &root), "stat");
  char mode[16];
  snprintf(mode, sizeof mode, "%o", root.st_mode & S_IFMT);
  const std::string text = "fd=" + std::to_string(fd) + ",rootmode=" + mode +
                           ",user_id=" + std::to_string(getuid()) +
                           ",group_id=" + std::to_string(getgid()) + options.text;
  Checked(env,
          mount(options.source.c_str(), dir.c_str(), options.type.c_str(), options.flags,
                text.c_str()),
          "mount");
  return env.Undefined();
}

// umount2(2) may wait for requests that this process answers, so it never runs on the event loop.
// Owned by Node from Queue() on; deleted after OnOK.
class Unmounting : public Napi::AsyncWorker {
 public:
  Unmounting(Napi::Env env, std::string dir, int flags)
      : Napi::AsyncWorker(env, "kitfs.unmount"),
        dir_(std::move(dir)),
        flags_(flags),
        settled_(Napi::Promise::Deferred::New(env)) {}

  Napi::Promise Promise() const { return settled_.Promise(); }

 protected:
  void Execute() override {
    if (umount2(dir_.c_str(), flags_) < 0) error_ = errno;
  }

  void OnOK() override {
    if (error_ == 0) {
      settled_.Resolve(Env().Undefined());
    } else {
      settled_.Reject(SystemError(Env(), error_, "umount2").Value());
    }
  }

 private:
  const std::string dir_;
  const int flags_;
  int error_ = 0;
  Napi::Promise::Deferred settled_;
};

Napi::Value Unmount(const Napi::CallbackInfo& info) {
  const Arguments args(info, "unmount");
  std::string dir = args.Text(0, "dir");
  const Options options = args.Members(1, "options");
  int flags = 0;
  if (options.Flag("lazy")) flags |= MNT_DETACH;
  if (options.Flag("force")) flags |= MNT_FORCE;
  auto* work = new Unmounting(info.Env(), std::move(dir), flags);
  const Napi::Promise promise = work->Promise();
  work->Queue();
  return promise;
}

Napi::Value BackingOpen(const Napi::CallbackInfo& info) {
  const Arguments args(info, "backingOpen");
  const int fuse = args.Descriptor(0, "fuseFd");
  BackingMap map = {args.Descriptor(1, "fileFd"), 0, 0};
  return Napi::Number::New(info.Env(), Checked(info.Env(), ioctl(fuse, kBackingOpen, &map), "ioctl"));
}

Napi::Value BackingClose(const Napi::CallbackInfo& info) {
  const Arguments args(info, "backingClose");
  const int fuse = args.Descriptor(0, "fuseFd");
  uint32_t id = static_cast<uint32_t>(args.Integer(1, "id", 1, INT_MAX));
  Checked(info.Env(), ioctl(fuse, kBackingClose, &id), "ioctl");
  return info.Env().Undefined();
}

}  // namespace

void AddMounting(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "openFuseDevice", OpenFuseDevice);
  Add(env, exports, "mountFuse", MountFuse);
  Add(env, exports, "unmount", Unmount);
  Add(env, exports, "backingOpen", BackingOpen);
  Add(env, exports, "backingClose", BackingClose);
}

}  // namespace kitfs
