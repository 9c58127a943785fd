// Mounting without privilege: fusermount3 mounts for its caller and hands back the open /dev/fuse over
// the socket whose number is in _FUSE_COMMFD (libfuse, util/fusermount.c and lib/mount.c).
//
// Invariants: the helper gets the descriptors 0 to 3 and a fixed environment and nothing else; it is
// waited for, but not longer than kHelperMsMax; what it says is kept up to kSaidBytesMax.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <string>

#include "addon.h"
#include "arguments.h"
#include "descriptor.h"
#include "failure.h"

namespace kitfs {
namespace {

constexpr int64_t kHelperMsMax = 30000;
constexpr size_t kSaidBytesMax = 4096;
constexpr int kHelperSocket = 3;

int64_t NowMs() {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

// What there is to know of a helper that runs, or ran.
struct Helper {
  pid_t pid = -1;
  OwnedDescriptor socket;    // Our end.
  OwnedDescriptor speech;    // Reads what it writes to its standard output and error.
  OwnedDescriptor received;  // The open /dev/fuse, once it came.
  std::string said;
  bool timedOut = false;
  int status = -1;  // Of waitpid(2).
};

// Returns 0 or the error of posix_spawn(3).
int Spawn(const std::string& path, const std::string& dir, const std::string& options, int socket,
          int speech, pid_t* pid) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, speech, 1);
  posix_spawn_file_actions_adddup2(&actions, speech, 2);
  // Last, because the number may be that of `speech`.
  posix_spawn_file_actions_adddup2(&actions, socket, kHelperSocket);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
  // What this process itself inherited need not be close-on-exec.
  posix_spawn_file_actions_addclosefrom_np(&actions, kHelperSocket + 1);
#endif

  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  sigset_t pipe;  // Node ignores it, and an ignored signal stays ignored across exec.
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &pipe);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  const std::string socketVariable = "_FUSE_COMMFD=" + std::to_string(kHelperSocket);
  const char* argv[] = {path.c_str(), "-o", options.c_str(), "--", dir.c_str(), nullptr};
  const char* argvBare[] = {path.c_str(), "--", dir.c_str(), nullptr};
  // The environment of this process is not read: another thread may be changing it.
  const char* env[] = {socketVariable.c_str(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
                       nullptr};
  const char** used = options.empty() ? argvBare : argv;
  const int error = posix_spawn(pid, path.c_str(), &actions, &attributes,
                                const_cast<char* const*>(used), const_cast<char* const*>(env));
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

// Takes one message; keeps the descriptor in it, if any. False at the end of the conversation.
bool Receive(Helper& helper) {
  char byte;
  struct iovec part = {&byte, 1};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t length = recvmsg(helper.socket.Get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (length < 0) return errno == EINTR || errno == EAGAIN;
  for (struct cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    if (header->cmsg_len != CMSG_LEN(sizeof(int))) continue;
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    helper.received.Reset(fd);
  }
  return length > 0;
}

// Keeps the beginning of what was said and drains the rest. False at its end.
bool Listen(Helper& helper) {
  char text[512];
  const ssize_t length = read(helper.speech.Get(), text, sizeof text);
  if (length < 0) return errno == EINTR || errno == EAGAIN;
  const size_t room = kSaidBytesMax - helper.said.size();
  helper.said.append(text, std::min(room, static_cast<size_t>(length)));
  return length > 0;
}

// Until the helper has closed both its ends, which it does by exiting.
void Converse(Helper& helper, int64_t deadlineMs) {
  while (helper.socket.IsOpen() || helper.speech.IsOpen()) {
    const int64_t leftMs = deadlineMs - NowMs();
    if (leftMs <= 0) {
      helper.timedOut = true;
      return;
    }
    // poll(2) passes over negative descriptors.
    struct pollfd waits[2] = {{helper.socket.Get(), POLLIN, 0}, {helper.speech.Get(), POLLIN, 0}};
    if (poll(waits, 2, static_cast<int>(leftMs)) < 0 && errno != EINTR) {
      helper.timedOut = true;
      return;
    }
    if (waits[0].revents != 0 && !Receive(helper)) helper.socket.Reset();
    if (waits[1].revents != 0 && !Listen(helper)) helper.speech.Reset();
  }
}

// Collects the exit status. A helper that closed its ends and yet stays is ended at the deadline.
void Reap(Helper& helper, int64_t deadlineMs) {
  const struct timespec pause = {0, 1000000};
  for (;;) {
    const pid_t ended = waitpid(helper.pid, &helper.status, WNOHANG);
    if (ended == helper.pid) return;
    if (ended < 0 && errno != EINTR) {
      helper.timedOut = true;  // Somebody else reaped it: how it ended cannot be known.
      return;
    }
    if (helper.timedOut || NowMs() >= deadlineMs) break;
    nanosleep(&pause, nullptr);
  }
  helper.timedOut = true;
  // A set-user-id helper may be beyond our signals: then it is left to its own end.
  if (kill(helper.pid, SIGKILL) < 0) return;
  while (waitpid(helper.pid, &helper.status, 0) < 0 && errno == EINTR) {
  }
}

Napi::Error HelperError(Napi::Env env, const std::string& path, const Helper& helper) {
  std::ostringstream text;
  text << path << ": ";
  if (helper.timedOut) {
    text << "no end after " << kHelperMsMax << " ms";
  } else if (WIFEXITED(helper.status) && WEXITSTATUS(helper.status) == 0) {
    text << "ended without handing over a descriptor";
  } else if (WIFEXITED(helper.status)) {
    text << "exit status " << WEXITSTATUS(helper.status);
  } else {
    text << "killed by signal " << WTERMSIG(helper.status);
  }
  std::string said = helper.said;
  said.erase(said.find_last_not_of(" \t\r\n") + 1);
  if (!said.empty()) text << ": " << said;
  Napi::Error error = Napi::Error::New(env, text.str());
  error.Set("code", Napi::String::New(env, "ERR_MOUNT_HELPER"));
  return error;
}

Napi::Value MountWithHelper(const Napi::CallbackInfo& info) {
  const Arguments args(info, "mountWithHelper");
  const Napi::Env env = info.Env();
  const std::string path = args.Text(0, "helperPath");
  const std::string dir = args.Text(1, "dir");
  const std::string options = args.TextOrEmpty(2, "options");
  if (path[0] != '/') throw args.OutOfRange("helperPath", "must be absolute");
  // With auto_unmount the helper stays for as long as the mount: it would never be reaped here.
  if (("," + options + ",").find(",auto_unmount,") != std::string::npos) {
    throw args.OutOfRange("options", "must not contain auto_unmount");
  }

  Helper helper;
  int sockets[2];
  Checked(env, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), "socketpair");
  helper.socket.Reset(sockets[0]);
  OwnedDescriptor theirSocket(sockets[1]);
  int pipes[2];
  Checked(env, pipe2(pipes, O_CLOEXEC), "pipe2");
  helper.speech.Reset(pipes[0]);
  OwnedDescriptor theirSpeech(pipes[1]);

  const int error =
      Spawn(path, dir, options, theirSocket.Get(), theirSpeech.Get(), &helper.pid);
  if (error != 0) throw SystemError(env, error, "posix_spawn");
  theirSocket.Reset();
  theirSpeech.Reset();
  const int64_t deadlineMs = NowMs() + kHelperMsMax;
  Converse(helper, deadlineMs);
  Reap(helper, deadlineMs);

  const bool succeeded = !helper.timedOut && WIFEXITED(helper.status) &&
                         WEXITSTATUS(helper.status) == 0 && helper.received.IsOpen();
  if (!succeeded) throw HelperError(env, path, helper);
  const long flags = Checked(env, fcntl(helper.received.Get(), F_GETFL), "fcntl");
  Checked(env, fcntl(helper.received.Get(), F_SETFL, flags | O_NONBLOCK), "fcntl");
  return Napi::Number::New(env, helper.received.Release());
}

}  // namespace

void AddMountHelper(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "mountWithHelper", MountWithHelper);
}

}  // namespace kitfs
