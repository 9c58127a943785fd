// See keeper_start.h.
#include "keeper_start.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>

namespace kitfs {
namespace {

constexpr int kDaemonSocket = 3;
constexpr size_t kPassedMax = 8;
constexpr int kWaitingMax = 8;
constexpr long kWatchdogSecondsMax = 86400;
constexpr long kDescriptorMax = 1 << 20;

// -1: not a number from `least` to `most`.
long Number(const char* text, long least, long most) {
  char* end = nullptr;
  errno = 0;
  const long number = strtol(text, &end, 10);
  const bool whole = errno == 0 && end != text && *end == '\0';
  return whole && number >= least && number <= most ? number : -1;
}

bool ReadOption(const std::string& name, const char* value, Invocation& read) {
  if (name == "--watchdog") {
    read.watchdog = static_cast<int>(Number(value, 1, kWatchdogSecondsMax));
    return read.watchdog > 0;
  }
  if (name == "--pass") {
    const int fd = static_cast<int>(Number(value, kDaemonSocket + 1, kDescriptorMax));
    if (fd < 0 || fcntl(fd, F_GETFD) < 0 || read.passed.size() == kPassedMax) return false;
    read.passed.push_back(fd);
    return true;
  }
  if (name == "--listen" && value[0] == '/') {
    read.listen = value;
    return true;
  }
  if (name == "--made-of" && value[0] == '/') {
    read.made_of = Installed(value);
    return true;
  }
  return false;
}

// An address that others can be told. False: too long.
bool AddressOf(const std::string& path, struct sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  memcpy(address.sun_path, path.data(), path.size());
  return true;
}

bool IsAnswered(const struct sockaddr_un& address) {
  OwnedDescriptor probe(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return connect(probe.Get(), reinterpret_cast<const struct sockaddr*>(&address), sizeof address) == 0 ||
         errno == EAGAIN;
}

// A socket of this user's, which nobody answers: a keeper that was killed has left it.
void RemoveStale(const std::string& path, const struct sockaddr_un& address) {
  struct stat found;
  if (lstat(path.c_str(), &found) < 0) return;
  if (S_ISSOCK(found.st_mode) && found.st_uid == geteuid() && !IsAnswered(address)) {
    unlink(path.c_str());
  }
}

[[noreturn]] void BecomeDaemon(char** program, int socket, const std::vector<int>& passed,
                               const Inherited& inherited) {
  setpgid(0, 0);
  // dup2(2) of a number to itself would leave it close-on-exec.
  const bool is_there = socket == kDaemonSocket ? fcntl(socket, F_SETFD, 0) == 0
                                                : dup2(socket, kDaemonSocket) == kDaemonSocket;
  bool is_whole = is_there;
  for (const int fd : passed) is_whole = fcntl(fd, F_SETFD, 0) == 0 && is_whole;
  sigaction(SIGPIPE, &inherited.pipe, nullptr);
  sigprocmask(SIG_SETMASK, &inherited.mask, nullptr);
  if (is_whole) execv(program[0], program);
  fprintf(stderr, "kitfs-keeper: cannot start %s: %s\n", program[0], strerror(errno));
  _exit(127);
}

}  // namespace

bool ReadInvocation(int count, char** arguments, Invocation& read) {
  int at = 1;
  bool is_right = true;
  while (is_right && at < count && strcmp(arguments[at], "--") != 0) {
    is_right = at + 1 < count && ReadOption(arguments[at], arguments[at + 1], read);
    at += 2;
  }
  if (at < count) at++;
  // Either a place or a program; only a program that is started can be given something.
  const bool has_program = at < count;
  if (is_right && has_program) read.program = arguments + at;
  if (is_right && has_program == read.listen.empty() && (has_program || read.passed.empty())) {
    return true;
  }
  fputs(
      "usage: kitfs-keeper [--watchdog SECONDS] [--pass DESCRIPTOR]... [--made-of FILE] -- PROGRAM ARGUMENTS...\n"
      "       kitfs-keeper [--watchdog SECONDS] --listen PATH\n",
      stderr);
  return false;
}

std::optional<Installed::Version> Installed::Look() const {
  struct stat found;
  if (stat(path_.c_str(), &found) < 0) return std::nullopt;
  return Version{found.st_dev, found.st_ino, found.st_mtim.tv_sec, found.st_mtim.tv_nsec};
}

bool Installed::IsReplaced() const {
  const std::optional<Version> now = Look();
  if (!now) return false;
  return !noted_ || now->device != noted_->device || now->inode != noted_->inode ||
         now->seconds != noted_->seconds || now->nanoseconds != noted_->nanoseconds;
}

void TidyDescriptors(const std::vector<int>& passed) {
  for (int fd = 0; fd < 3; fd++) {
    // Opens the lowest number that is free, which is this one.
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) _exit(1);
  }
  std::vector<int> kept = passed;
  kept.push_back(kDescriptorMax);
  std::sort(kept.begin(), kept.end());
  unsigned from = 3;
  for (const int fd : kept) {
    const unsigned number = static_cast<unsigned>(fd);
    const bool is_last = fd == kDescriptorMax;
    // Before Linux 5.9 there is no such call: what was inherited is then close-on-exec or a leak of
    // whoever started this.
    if (is_last) {
      syscall(SYS_close_range, from, ~0U, 0);
    } else if (number > from) {
      syscall(SYS_close_range, from, number - 1, 0);
    }
    if (!is_last) fcntl(fd, F_SETFD, FD_CLOEXEC);
    from = number + 1;
  }
}

pid_t StartDaemon(const Invocation& invocation, const Inherited& inherited, OwnedDescriptor& ours) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return -1;
  ours.Reset(ends[0]);
  const OwnedDescriptor theirs(ends[1]);
  const pid_t pid = fork();
  if (pid == 0) BecomeDaemon(invocation.program, theirs.Get(), invocation.passed, inherited);
  return pid;
}

int ListenAt(const std::string& path) {
  struct sockaddr_un address;
  if (!AddressOf(path, address)) {
    fprintf(stderr, "kitfs-keeper: %s is too long for a socket\n", path.c_str());
    return -1;
  }
  RemoveStale(path, address);
  OwnedDescriptor made(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const mode_t before = umask(0177);
  const bool is_bound =
      bind(made.Get(), reinterpret_cast<const struct sockaddr*>(&address), sizeof address) == 0;
  umask(before);
  if (is_bound && listen(made.Get(), kWaitingMax) == 0) return made.Release();
  fprintf(stderr, "kitfs-keeper: cannot listen at %s: %s\n", path.c_str(), strerror(errno));
  return -1;
}

int AcceptDaemon(int listener, OwnedDescriptor& process) {
  OwnedDescriptor made(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (!made.IsOpen()) return -1;
  struct ucred peer = {};
  socklen_t length = sizeof peer;
  if (getsockopt(made.Get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) return -1;
  if (peer.uid != geteuid() && peer.uid != 0) {
    fprintf(stderr, "kitfs-keeper: refused a process of user %u\n", peer.uid);
    return -1;
  }
  process.Reset(peer.pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, peer.pid, 0)) : -1);
  return made.Release();
}

bool SignalProcess(int process, int number) {
  return process >= 0 && syscall(SYS_pidfd_send_signal, process, number, nullptr, 0) == 0;
}

void NotifyManager(const char* state) {
  const char* place = getenv("NOTIFY_SOCKET");
  struct sockaddr_un address;
  // A path, or a name of the abstract kind, whose first byte is NUL.
  if (place == nullptr || (place[0] != '/' && place[0] != '@') || !AddressOf(place, address)) return;
  if (place[0] == '@') address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(struct sockaddr_un, sun_path) + strlen(place));
  OwnedDescriptor made(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sendto(made.Get(), state, strlen(state), MSG_NOSIGNAL,
         reinterpret_cast<const struct sockaddr*>(&address), length);
}

}  // namespace kitfs
