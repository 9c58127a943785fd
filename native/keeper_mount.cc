// See keeper_mount.h. The mount table is read, never the mount: one without a server would hang whoever
// touches it.
#include "keeper_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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
#include <vector>

#include "descriptor.h"

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

struct Mount {
  std::string device;
  std::string root;
  std::string dir;
  std::string type;
};

// proc_pid_mountinfo(5): the third field is the device, the fifth the place; the type follows " - ". Cuts the
// line into pieces.
bool ReadMount(char* line, Mount& mount) {
  char* after = strstr(line, " - ");
  if (after == nullptr) return false;
  *after = '\0';
  char* rest = nullptr;
  const char* fields[5];
  for (int i = 0; i < 5; i++) {
    fields[i] = strtok_r(i == 0 ? line : nullptr, " ", &rest);
    if (fields[i] == nullptr) return false;
  }
  const char* type = strtok_r(after + 3, " ", &rest);
  if (type == nullptr) return false;
  mount = {fields[2], fields[3], Unescaped(fields[4]), type};
  return true;
}

// In the order of mounting: of several at one place the last one is seen.
std::vector<Mount> ReadMounts() {
  std::vector<Mount> mounts;
  FILE* table = fopen("/proc/self/mountinfo", "re");
  if (table == nullptr) return mounts;
  char* line = nullptr;
  size_t room = 0;
  Mount mount;
  while (getline(&line, &room, table) > 0) {
    if (ReadMount(line, mount)) mounts.push_back(mount);
  }
  free(line);
  fclose(table);
  return mounts;
}

// All of it, and not a directory in it that was bound to another place.
bool IsOurs(const Mount& mount, const std::string& device) {
  return mount.type == kType && mount.root == "/" && mount.device == device;
}

bool IsConnected(int connection) {
  struct pollfd look = {connection, 0, 0};
  return connection >= 0 && poll(&look, 1, 0) >= 0 && (look.revents & (POLLERR | POLLNVAL)) == 0;
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

Place FindMount(const std::string& dir, const std::string& device, int connection) {
  const bool is_connected = IsConnected(connection);
  const std::vector<Mount> mounts = ReadMounts();
  const Mount* found = nullptr;
  for (const Mount& mount : mounts) {
    if (!IsOurs(mount, device)) continue;
    const bool is_first = found == nullptr && is_connected;
    if (mount.dir == dir || is_first) found = &mount;
  }
  Place place;
  place.has_number = is_connected || found != nullptr;
  if (found == nullptr) return place;
  const Mount* seen = found;
  for (const Mount& mount : mounts) {
    if (mount.dir == found->dir) seen = &mount;
  }
  if (seen == found) place.dir = found->dir;
  return place;
}

void EndConnection(const std::string& device) {
  const std::string number = device.substr(device.find(':') + 1);
  const std::string path = "/sys/fs/fuse/connections/" + number + "/abort";
  const OwnedDescriptor file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.IsOpen() && write(file.Get(), "1", 1) < 0) perror("kitfs-keeper: end the connection");
}

bool TakeMountAway(const std::string& dir) {
  // By force, which ends the connection too.
  if (umount2(dir.c_str(), MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return true;
  const int error = errno;
  if (error == EPERM && UnmountWithHelper(dir.c_str())) return true;
  fprintf(stderr, "kitfs-keeper: %s stays mounted: %s\n", dir.c_str(), strerror(error));
  return false;
}

}  // namespace kitfs
