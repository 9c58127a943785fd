// What outlives a process: messages with descriptors, memory that has a descriptor, and a process that
// becomes another one.
//
// Invariants: no call here waits unless it was given a time, and then no longer; a descriptor that came
// with a message is close-on-exec and is handed over or closed; a mapping lasts as long as its buffer.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <string>
#include <vector>

#include "addon.h"
#include "arguments.h"
#include "descriptor.h"
#include "failure.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

namespace kitfs {
namespace {

// What the keeper takes in one message; keeper_holds.h.
constexpr size_t kMessageBytesMax = 8192;
constexpr int64_t kWaitMsMax = 60000;
constexpr int64_t kSharedBytesMax = int64_t{1} << 30;

int64_t NowMs() {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

// Waits until `fd` is ready for `events`, has failed or has ended. False: not before the deadline.
bool Wait(Napi::Env env, int fd, short events, int64_t deadlineMs) {
  for (;;) {
    struct pollfd wait = {fd, events, 0};
    const int64_t leftMs = deadlineMs - NowMs();
    if (leftMs < 0) return false;
    const int ready = poll(&wait, 1, static_cast<int>(leftMs));
    if (ready < 0 && errno != EINTR) throw SystemError(env, errno, "poll");
    if (ready > 0) return true;
  }
}

Napi::Value SendMessage(const Napi::CallbackInfo& info) {
  const Arguments args(info, "sendMessage");
  const Napi::Env env = info.Env();
  const int fd = args.Descriptor(0, "fd");
  const int passed = info[2].IsUndefined() ? -1 : args.Descriptor(2, "descriptor");
  const int64_t waitMs = args.IntegerOr(3, "waitMs", 0, 0, kWaitMsMax);
  const ByteSpan span = args.Bytes(1, "bytes");
  // An empty message could not be told from the end of the conversation.
  if (span.length == 0 || span.length > kMessageBytesMax) {
    throw args.OutOfRange("bytes", "must be 1 to " + std::to_string(kMessageBytesMax) + " bytes");
  }
  struct iovec part = {span.bytes, span.length};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (passed >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &passed, sizeof passed);
  }
  const int64_t deadlineMs = NowMs() + waitMs;
  for (;;) {
    if (sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return env.Undefined();
    if (errno == EINTR) continue;
    const int error = errno;
    const bool isFull = error == EAGAIN && waitMs > 0;
    if (!isFull || !Wait(env, fd, POLLOUT, deadlineMs)) throw SystemError(env, error, "sendmsg");
  }
}

// Keeps the first descriptor of a message; ends the others, which nobody expects.
void TakeDescriptors(struct msghdr& message, OwnedDescriptor& kept) {
  for (struct cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
      if (kept.IsOpen()) {
        close(fd);
      } else {
        kept.Reset(fd);
      }
    }
  }
}

Napi::Value ReceiveMessage(const Napi::CallbackInfo& info) {
  const Arguments args(info, "receiveMessage");
  const Napi::Env env = info.Env();
  const int fd = args.Descriptor(0, "fd");
  const int64_t deadlineMs = NowMs() + args.Integer(1, "waitMs", 0, kWaitMsMax);
  uint8_t bytes[kMessageBytesMax];
  struct iovec part = {bytes, sizeof bytes};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  struct msghdr message = {};
  ssize_t length;
  for (;;) {
    message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    length = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (length >= 0) break;
    if (errno == EINTR) continue;
    // Whoever died without reading what we sent ends the conversation in this way.
    if (errno == ECONNRESET) return env.Undefined();
    if (errno != EAGAIN) throw SystemError(env, errno, "recvmsg");
    if (!Wait(env, fd, POLLIN, deadlineMs)) throw SystemError(env, ETIMEDOUT, "recvmsg");
  }
  OwnedDescriptor received;
  TakeDescriptors(message, received);
  if ((message.msg_flags & MSG_TRUNC) != 0) throw SystemError(env, EMSGSIZE, "recvmsg");
  // A descriptor that there was no room for in the table of this process.
  const bool isLost = (message.msg_flags & MSG_CTRUNC) != 0 && !received.IsOpen();
  if (isLost) throw SystemError(env, EMFILE, "recvmsg");
  if (length == 0) return env.Undefined();
  Napi::Object result = Napi::Object::New(env);
  result.Set("bytes", Napi::Buffer<uint8_t>::Copy(env, bytes, static_cast<size_t>(length)));
  if (received.IsOpen()) result.Set("descriptor", Napi::Number::New(env, received.Get()));
  received.Release();
  return result;
}

// As poll(2) says it without being asked. Of an open /dev/fuse: its connection has ended.
Napi::Value HasFailed(const Napi::CallbackInfo& info) {
  const Arguments args(info, "hasFailed");
  struct pollfd look = {args.Descriptor(0, "fd"), 0, 0};
  Checked(info.Env(), poll(&look, 1, 0), "poll");
  return Napi::Boolean::New(info.Env(), (look.revents & (POLLERR | POLLNVAL)) != 0);
}

Napi::Value ConnectSeqpacket(const Napi::CallbackInfo& info) {
  const Arguments args(info, "connectSeqpacket");
  const Napi::Env env = info.Env();
  const std::string path = args.Text(0, "path");
  struct sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw SystemError(env, ENAMETOOLONG, "connect");
  memcpy(address.sun_path, path.data(), path.size());
  OwnedDescriptor made(static_cast<int>(Checked(
      env, socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket")));
  Checked(env, connect(made.Get(), reinterpret_cast<struct sockaddr*>(&address), sizeof address),
          "connect");
  return Napi::Number::New(env, made.Release());
}

void Allocate(Napi::Env env, int fd, off_t position, off_t bytes) {
  long result;
  do {
    result = fallocate(fd, 0, position, bytes);
  } while (result < 0 && errno == EINTR);
  Checked(env, result, "fallocate");
}

// Allocated, because a page that cannot be had later is a SIGBUS; and never to become shorter, which
// would be one for everybody who has mapped it.
Napi::Value MakeShared(const Napi::CallbackInfo& info) {
  const Arguments args(info, "makeShared");
  const Napi::Env env = info.Env();
  const int64_t bytes = args.Integer(0, "bytes", 1, kSharedBytesMax);
  OwnedDescriptor made(static_cast<int>(
      Checked(env, memfd_create("kitfs", MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create")));
  Allocate(env, made.Get(), 0, bytes);
  Checked(env, fcntl(made.Get(), F_ADD_SEALS, F_SEAL_SHRINK), "fcntl");
  return Napi::Number::New(env, made.Release());
}

Napi::Value AllocateShared(const Napi::CallbackInfo& info) {
  const Arguments args(info, "allocateShared");
  const int fd = args.Descriptor(0, "fd");
  const int64_t position = args.Integer(1, "position", 0, kSharedBytesMax);
  const int64_t bytes = args.Integer(2, "bytes", 1, kSharedBytesMax);
  if (position + bytes > kSharedBytesMax) {
    throw args.OutOfRange("bytes", "must end within " + std::to_string(kSharedBytesMax));
  }
  Allocate(info.Env(), fd, position, bytes);
  return info.Env().Undefined();
}

// The kernel puts every mapping at an address of its own, so no two buffers ever share one, which V8
// would not survive.
Napi::Value MapShared(const Napi::CallbackInfo& info) {
  const Arguments args(info, "mapShared");
  const Napi::Env env = info.Env();
  const int fd = args.Descriptor(0, "fd");
  const size_t bytes = static_cast<size_t>(args.Integer(1, "bytes", 1, kSharedBytesMax));
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    throw args.OutOfRange("fd", "must be one of makeShared");
  }
  struct stat found;
  Checked(env, fstat(fd, &found), "fstat");
  if (static_cast<size_t>(found.st_size) < bytes) {
    throw args.OutOfRange("bytes", "must not be more than there are");
  }
  void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) throw SystemError(env, errno, "mmap");
  try {
    return Napi::Buffer<uint8_t>::New(
        env, static_cast<uint8_t*>(mapped), bytes,
        [bytes](Napi::BasicEnv, uint8_t* data) { munmap(data, bytes); });
  } catch (...) {
    munmap(mapped, bytes);
    throw;
  }
}

constexpr int kSignalsMax = 64;
constexpr uint32_t kArgumentsMax = 1024;

// The dispositions and the mask of this thread as a shell would have set them. Node ignores SIGPIPE, and
// what is ignored or blocked stays so in the program that follows; what has a handler does not.
class PlainSignals {
 public:
  PlainSignals() {
    struct sigaction plain = {};
    plain.sa_handler = SIG_DFL;
    for (int number = 1; number <= kSignalsMax; number++) {
      if (sigaction(number, nullptr, &before_[number]) < 0) continue;
      if (before_[number].sa_handler != SIG_IGN) continue;
      was_ignored_[number] = sigaction(number, &plain, nullptr) == 0;
    }
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, &mask_);
  }

  ~PlainSignals() {
    pthread_sigmask(SIG_SETMASK, &mask_, nullptr);
    for (int number = 1; number <= kSignalsMax; number++) {
      if (was_ignored_[number]) sigaction(number, &before_[number], nullptr);
    }
  }

  PlainSignals(const PlainSignals&) = delete;
  PlainSignals& operator=(const PlainSignals&) = delete;

 private:
  struct sigaction before_[kSignalsMax + 1] = {};
  bool was_ignored_[kSignalsMax + 1] = {};
  sigset_t mask_;
};

// A descriptor that was inherited need not be close-on-exec. Before Linux 5.11 there is no such call; then
// only what Node and this addon opened, all of it close-on-exec, is closed.
void CloseOnExec() { syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC); }

// Node makes them close-on-exec when it starts, and non-blocking what it reads and writes.
void KeepStandard() {
  for (int fd = 0; fd < 3; fd++) {
    fcntl(fd, F_SETFD, 0);
    const int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK) != 0) fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  }
}

Napi::Value ReplaceProcess(const Napi::CallbackInfo& info) {
  const Arguments args(info, "replaceProcess");
  const std::string path = args.Text(0, "path");
  const Napi::Array list = args.List(1, "args", kArgumentsMax);
  std::vector<std::string> words = {path};
  for (uint32_t i = 0; i < list.Length() && i < kArgumentsMax; i++) {
    const Napi::Value word = list.Get(i);
    if (!word.IsString()) throw args.Refuse("args", "must be an array of strings");
    words.push_back(word.As<Napi::String>().Utf8Value());
    if (words.back().find('\0') != std::string::npos) {
      throw args.OutOfRange("args", "must not contain NUL");
    }
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  CloseOnExec();
  KeepStandard();
  const PlainSignals plain;
  execve(path.c_str(), argv.data(), environ);
  throw SystemError(info.Env(), errno, "execve");
}

}  // namespace

void AddKeeping(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "sendMessage", SendMessage);
  Add(env, exports, "receiveMessage", ReceiveMessage);
  Add(env, exports, "hasFailed", HasFailed);
  Add(env, exports, "connectSeqpacket", ConnectSeqpacket);
  Add(env, exports, "makeShared", MakeShared);
  Add(env, exports, "allocateShared", AllocateShared);
  Add(env, exports, "mapShared", MapShared);
  Add(env, exports, "replaceProcess", ReplaceProcess);
}

}  // namespace kitfs
