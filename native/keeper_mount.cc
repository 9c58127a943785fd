// See keeper_mount.h. The mount table is read, never the mount: one without a server would hang whoever
// touches it.
#include "keeper_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <string>

namespace kitfs {
namespace {

constexpr char kType[] = "fuse.kitfs";
constexpr int kHelperSecondsMax = 10;

// Space, tab, newline and backslash are octal in the mount table.
std::string Unescaped(const char* text) {
  std::string plain;
  for (const char* at = text; *at != '\0'; at++) {
    const bool octal = at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] >= '0' && at[2] <= '7' &&
                       at[3] >= '0' && at[3] <= '7';
    if (!octal) {
      plain.push_back(*at);
      continue;
    }
    plain.push_back(static_cast<char>((at[1] - '0') * 64 + (at[2] - '0') * 8 + (at[3] - '0')));
    at += 3;
  }
  return plain;
}

// proc_pid_mountinfo(5): the fifth field is the place; the type follows " - ". Cuts the line into pieces.
bool ReadMount(char* line, std::string& dir, std::string& type) {
  char* after = strstr(line, " - ");
  if (after == nullptr) return false;
  *after = '\0';
  char* rest = nullptr;
  char* field = strtok_r(line, " ", &rest);
  for (int i = 1; i < 5 && field != nullptr; i++) field = strtok_r(nullptr, " ", &rest);
  char* kind = strtok_r(after + 3, " ", &rest);
  if (field == nullptr || kind == nullptr) return false;
  dir = Unescaped(field);
  type = kind;
  return true;
}

// Whether the last mount at `dir`, which is the one that is seen, is ours.
bool IsMounted(const char* dir) {
  FILE* table = fopen("/proc/self/mountinfo", "re");
  if (table == nullptr) return false;
  bool found = false;
  char* line = nullptr;
  size_t room = 0;
  std::string place;
  std::string type;
  while (getline(&line, &room, table) > 0) {
    if (ReadMount(line, place, type) && place == dir) found = type == kType;
  }
  free(line);
  fclose(table);
  return found;
}

// Waits for a child by its SIGCHLD, which the caller has blocked.
bool Succeeds(pid_t pid) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const time_t last = now.tv_sec + kHelperSecondsMax;
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGCHLD);
  while (now.tv_sec <= last) {
    int status;
    const pid_t ended = waitpid(pid, &status, WNOHANG);
    if (ended == pid) return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (ended < 0 && errno != EINTR) return false;
    const struct timespec wait = {1, 0};
    sigtimedwait(&ends, nullptr, &wait);
    clock_gettime(CLOCK_MONOTONIC, &now);
  }
  kill(pid, SIGKILL);  // A set-user-id helper is beyond us: then it is left to its own end.
  return false;
}

bool RunHelper(const char* path, const char* dir) {
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  sigset_t changed;
  sigemptyset(&changed);
  sigaddset(&changed, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &changed);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  const char* argv[] = {path, "-u", "-z", "--", dir, nullptr};
  const char* env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", nullptr};
  pid_t pid;
  const int error = posix_spawn(&pid, path, nullptr, &attributes, const_cast<char* const*>(argv),
                                const_cast<char* const*>(env));
  posix_spawnattr_destroy(&attributes);
  return error == 0 && Succeeds(pid);
}

bool UnmountWithHelper(const char* dir) {
  const char* const folders[] = {"/usr/bin/", "/bin/", "/usr/local/bin/"};
  for (const char* name : {"fusermount3", "fusermount"}) {
    for (const char* folder : folders) {
      const std::string path = std::string(folder) + name;
      if (access(path.c_str(), X_OK) == 0) return RunHelper(path.c_str(), dir);
    }
  }
  return false;
}

}  // namespace

bool TakeMountAway(const char* dir) {
  if (!IsMounted(dir)) return true;
  // By force, which ends the connection whoever has descriptors of it: the process that wrote for a daemon
  // may be stuck in a write to it, behind a program that waits for an answer.
  if (umount2(dir, MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return true;
  const int error = errno;
  if (error == EPERM && UnmountWithHelper(dir)) return true;
  fprintf(stderr, "kitfs-keeper: %s stays mounted: %s\n", dir, strerror(error));
  return false;
}

}  // namespace kitfs
