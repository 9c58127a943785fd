// Calls on files that Node lacks, or makes too dear: space, holes, clones, locks, leases, peers.
//
// Invariant: a descriptor given here stays the caller's, except the one given to closeDescriptor.
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
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

constexpr uint32_t kSyncedFilesMax = 65536;

Napi::Value CloseDescriptor(const Napi::CallbackInfo& info) {
  const int fd = Arguments(info, "closeDescriptor").Descriptor(0, "fd");
  // Linux has freed the descriptor also when it was interrupted.
  if (close(fd) < 0 && errno != EINTR) throw SystemError(info.Env(), errno, "close");
  return info.Env().Undefined();
}

Napi::Value Fallocate(const Napi::CallbackInfo& info) {
  const Arguments args(info, "fallocate");
  const int fd = args.Descriptor(0, "fd");
  const int mode = static_cast<int>(args.Integer(1, "mode", 0, INT_MAX));
  const off_t offset = args.Offset(2, "offset");
  const off_t length = args.Offset(3, "length");
  long result;
  do {
    result = fallocate(fd, mode, offset, length);
  } while (result < 0 && errno == EINTR);
  Checked(info.Env(), result, "fallocate");
  return info.Env().Undefined();
}

Napi::Value Seek(const Napi::CallbackInfo& info) {
  const Arguments args(info, "seek");
  const Napi::Env env = info.Env();
  const int fd = args.Descriptor(0, "fd");
  const off_t offset = args.Offset(1, "offset");
  const std::string whence = args.Text(2, "whence");
  if (whence != "data" && whence != "hole") throw args.OutOfRange("whence", "must be data or hole");
  const off_t found = lseek(fd, offset, whence == "data" ? SEEK_DATA : SEEK_HOLE);
  if (found < 0 && errno == ENXIO) return env.Undefined();
  return SafeNumber(env, static_cast<uint64_t>(Checked(env, found, "lseek")), "offset");
}

Napi::Value CopyFileRange(const Napi::CallbackInfo& info) {
  const Arguments args(info, "copyFileRange");
  const int from = args.Descriptor(0, "fdIn");
  off64_t fromOffset = args.Offset(1, "offsetIn");
  const int to = args.Descriptor(2, "fdOut");
  off64_t toOffset = args.Offset(3, "offsetOut");
  const size_t length = static_cast<size_t>(args.Offset(4, "length"));
  long copied;
  do {
    copied = copy_file_range(from, &fromOffset, to, &toOffset, length, 0);
  } while (copied < 0 && errno == EINTR);
  return Napi::Number::New(info.Env(),
                           static_cast<double>(Checked(info.Env(), copied, "copy_file_range")));
}

Napi::Value Reflink(const Napi::CallbackInfo& info) {
  const Arguments args(info, "reflink");
  const int from = args.Descriptor(0, "fdFrom");
  const int to = args.Descriptor(1, "fdTo");
  if (ioctl(to, FICLONE, from) == 0) return Napi::Boolean::New(info.Env(), true);
  // Not on this file system, not between these two, or not files that share blocks.
  const bool cannot =
      errno == EOPNOTSUPP || errno == EXDEV || errno == EINVAL || errno == ENOTTY;
  if (!cannot) throw SystemError(info.Env(), errno, "ioctl");
  return Napi::Boolean::New(info.Env(), false);
}

Napi::Value FlockTry(const Napi::CallbackInfo& info) {
  const Arguments args(info, "flockTry");
  const int fd = args.Descriptor(0, "fd");
  const int kind = args.Boolean(1, "exclusive") ? LOCK_EX : LOCK_SH;
  long result;
  do {
    result = flock(fd, kind | LOCK_NB);
  } while (result < 0 && errno == EINTR);
  if (result < 0 && errno == EWOULDBLOCK) return Napi::Boolean::New(info.Env(), false);
  Checked(info.Env(), result, "flock");
  return Napi::Boolean::New(info.Env(), true);
}

// Takes a lease and gives it up at once; false when somebody else's open file is in the way.
bool TryLease(Napi::Env env, int fd, int kind) {
  if (fcntl(fd, F_SETLEASE, kind) < 0) {
    if (errno == EAGAIN) return false;
    Checked(env, -1, "fcntl");
  }
  Checked(env, fcntl(fd, F_SETLEASE, F_UNLCK), "fcntl");
  return true;
}

// A write lease is granted when nobody else has the file open or mapped at all, a read lease when
// nobody has it open, or mapped, for writing (fs/locks.c, check_conflicting_open).
Napi::Value OtherOpeners(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = Arguments(info, "otherOpeners").Descriptor(0, "fd");
  // Whoever opens the file in between makes the kernel signal the holder, by default with SIGIO,
  // which ends a process that does not expect it. SIGURG is ignored unless somebody listens.
  Checked(env, fcntl(fd, F_SETSIG, SIGURG), "fcntl");
  if (TryLease(env, fd, F_WRLCK)) return Napi::String::New(env, "none");
  return Napi::String::New(env, TryLease(env, fd, F_RDLCK) ? "readers" : "writers");
}

// Fills numbers of the caller's, because this is asked at every turn: objects and BigInts would cost
// more than the call.
Napi::Value Sense(const Napi::CallbackInfo& info) {
  const Arguments args(info, "sense");
  const Napi::Env env = info.Env();
  double* into = args.Numbers(1, "into", 5);
  struct stat found;
  if (args.IsNumber(0)) {
    Checked(env, fstat(args.Descriptor(0, "file"), &found), "fstat");
  } else {
    Checked(env, stat(args.Text(0, "file").c_str(), &found), "stat");
  }
  into[0] = static_cast<double>(found.st_size);
  into[1] = static_cast<double>(found.st_mtim.tv_sec);
  into[2] = static_cast<double>(found.st_mtim.tv_nsec);
  into[3] = static_cast<double>(found.st_atim.tv_sec);
  into[4] = static_cast<double>(found.st_atim.tv_nsec);
  return env.Undefined();
}

Napi::Value Unread(const Napi::CallbackInfo& info) {
  const Arguments args(info, "unread");
  const struct timespec times[] = {{0, 0}, {0, UTIME_OMIT}};
  if (args.IsNumber(0)) {
    Checked(info.Env(), futimens(args.Descriptor(0, "file"), times), "futimens");
  } else {
    Checked(info.Env(), utimensat(AT_FDCWD, args.Text(0, "file").c_str(), times, 0), "utimensat");
  }
  return info.Env().Undefined();
}

// By open and close, not by truncate(2): ext4 writes the next bytes of a file cut to nothing to the
// disk at its next close (fs/ext4/inode.c, EXT4_STATE_DA_ALLOC_CLOSE), and that shall be this one.
Napi::Value Empty(const Napi::CallbackInfo& info) {
  const std::string path = Arguments(info, "empty").Text(0, "path");
  long fd;
  do {
    fd = open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC);
  } while (fd < 0 && errno == EINTR);
  Checked(info.Env(), fd, "open");
  close(static_cast<int>(fd));
  return info.Env().Undefined();
}

// The supplementary groups the peer had when it connected; what /proc says of its pid may be of
// another process by then.
std::vector<gid_t> PeerGroups(Napi::Env env, int fd) {
  std::vector<gid_t> groups(32);
  for (;;) {
    socklen_t length = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    const int result = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length);
    // With ERANGE the kernel says how much it wants.
    const bool fits = result == 0;
    if (!fits && errno != ERANGE) Checked(env, result, "getsockopt");
    groups.resize(length / sizeof(gid_t));
    if (fits) return groups;
  }
}

Napi::Value PeerCredentials(const Napi::CallbackInfo& info) {
  const Arguments args(info, "peerCredentials");
  const Napi::Env env = info.Env();
  const int fd = args.Descriptor(0, "socketFd");
  struct ucred peer = {};
  socklen_t length = sizeof peer;
  Checked(env, getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length), "getsockopt");
  const std::vector<gid_t> groups = PeerGroups(env, fd);
  Napi::Object credentials = Napi::Object::New(env);
  credentials.Set("pid", Napi::Number::New(env, peer.pid));
  credentials.Set("uid", Napi::Number::New(env, peer.uid));
  credentials.Set("gid", Napi::Number::New(env, peer.gid));
  Napi::Array list = Napi::Array::New(env, groups.size());
  for (uint32_t i = 0; i < groups.size(); ++i) list.Set(i, Napi::Number::New(env, groups[i]));
  credentials.Set("groups", list);
  return credentials;
}

// Owned by Node from Queue() on; deleted after OnOK.
class Syncing : public Napi::AsyncWorker {
 public:
  Syncing(Napi::Env env, std::vector<int> fds)
      : Napi::AsyncWorker(env, "kitfs.fdatasyncMany"),
        fds_(std::move(fds)),
        settled_(Napi::Promise::Deferred::New(env)) {}

  Napi::Promise Promise() const { return settled_.Promise(); }

 protected:
  void Execute() override {
    for (size_t i = 0; i < fds_.size(); i++) {
      int result;
      do {
        result = fdatasync(fds_[i]);
      } while (result < 0 && errno == EINTR);
      if (result == 0) continue;
      if (error_ == 0) error_ = errno;
      failed_.push_back(static_cast<uint32_t>(i));
    }
  }

  void OnOK() override {
    if (error_ == 0) {
      settled_.Resolve(Env().Undefined());
    } else {
      // The disk tells of a failure once, so that nobody can find out later which they were.
      Napi::Array failed = Napi::Array::New(Env(), failed_.size());
      for (uint32_t i = 0; i < failed_.size(); i++) failed.Set(i, Napi::Number::New(Env(), failed_[i]));
      Napi::Object error = SystemError(Env(), error_, "fdatasync").Value().As<Napi::Object>();
      error.Set("failed", failed);
      settled_.Reject(error);
    }
  }

 private:
  const std::vector<int> fds_;
  std::vector<uint32_t> failed_;  // Places in `fds_`.
  int error_ = 0;
  Napi::Promise::Deferred settled_;
};

Napi::Value FdatasyncMany(const Napi::CallbackInfo& info) {
  const Arguments args(info, "fdatasyncMany");
  const Napi::Array list = args.List(0, "fds", kSyncedFilesMax);
  std::vector<int> fds;
  fds.reserve(list.Length());
  for (uint32_t i = 0; i < list.Length() && i < kSyncedFilesMax; i++) {
    const Napi::HandleScope scope(info.Env());
    fds.push_back(static_cast<int>(CheckedInteger(
        info.Env(), list.Get(i), "fdatasyncMany: fds[" + std::to_string(i) + "]", 0, INT_MAX)));
  }
  auto* work = new Syncing(info.Env(), std::move(fds));
  const Napi::Promise promise = work->Promise();
  work->Queue();
  return promise;
}

}  // namespace

void AddFiles(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "closeDescriptor", CloseDescriptor);
  Add(env, exports, "fallocate", Fallocate);
  Add(env, exports, "seek", Seek);
  Add(env, exports, "copyFileRange", CopyFileRange);
  Add(env, exports, "reflink", Reflink);
  Add(env, exports, "flockTry", FlockTry);
  Add(env, exports, "otherOpeners", OtherOpeners);
  Add(env, exports, "sense", Sense);
  Add(env, exports, "unread", Unread);
  Add(env, exports, "empty", Empty);
  Add(env, exports, "peerCredentials", PeerCredentials);
  Add(env, exports, "fdatasyncMany", FdatasyncMany);
}

}  // namespace kitfs
