// See notifying.h.
#include "notifying.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>

namespace kitfs {
namespace {

constexpr int kTheirSocket = 3;
constexpr int kTheirTarget = 4;

// A copy with a number that no other copy will be given. -1 when there is none.
int Aside(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, kTheirTarget + 1); }

// Ctrl-C and the like are for the daemon to act on.
int BlockAllSignals(posix_spawnattr_t& attributes) {
  sigset_t all;
  sigfillset(&all);
  const int error = posix_spawnattr_setsigmask(&attributes, &all);
  return error != 0 ? error : posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
}

int Spawn(const std::string& program, int socket, int target, pid_t& process) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  int error = posix_spawn_file_actions_init(&actions);
  if (error != 0) return error;
  error = posix_spawnattr_init(&attributes);
  if (error == 0) {
    error = BlockAllSignals(attributes);
    if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, socket, kTheirSocket);
    if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, target, kTheirTarget);
    char name[] = "kitfs-notify";
    char* const arguments[] = {name, nullptr};
    char* const environment[] = {nullptr};
    if (error == 0) {
      error = posix_spawn(&process, program.c_str(), &actions, &attributes, arguments, environment);
    }
    posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

// False: nobody reads any more.
bool SendAll(int socket, const void* from, size_t length) {
  const char* bytes = static_cast<const char*>(from);
  while (length > 0) {
    const ssize_t sent = send(socket, bytes, length, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes += sent;
    length -= static_cast<size_t>(sent);
  }
  return true;
}

}  // namespace

int Writer::Begin() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return errno;
  socket_.Reset(ends[0]);
  const OwnedDescriptor theirs(ends[1]);
  const OwnedDescriptor socket(Aside(theirs.Get()));
  const OwnedDescriptor target(Aside(fd_));
  int error = socket.IsOpen() && target.IsOpen() ? 0 : errno;
  if (error == 0) error = Spawn(program_, socket.Get(), target.Get(), process_);
  if (error != 0) {
    process_ = -1;
    socket_.Reset();
  }
  return error;
}

int Writer::Write(const std::vector<uint8_t>& message) {
  int error = 0;
  if (Ask(message, error)) return error;
  End();
  const int begun = Begin();
  if (begun != 0) return begun;
  return Ask(message, error) ? error : EPIPE;
}

bool Writer::Ask(const std::vector<uint8_t>& message, int& error) {
  const uint32_t length = static_cast<uint32_t>(message.size());
  if (!socket_.IsOpen() || !SendAll(socket_.Get(), &length, sizeof length)) return false;
  if (!SendAll(socket_.Get(), message.data(), message.size())) return false;
  int32_t answer = 0;
  ssize_t got;
  do {
    got = recv(socket_.Get(), &answer, sizeof answer, MSG_WAITALL);
  } while (got < 0 && errno == EINTR);
  error = answer;
  return got == sizeof answer;
}

void Writer::End() {
  socket_.Reset();
  if (process_ < 0) return;
  // It reads the end of the conversation, unless it was ended before.
  while (waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
  process_ = -1;
}

}  // namespace kitfs
