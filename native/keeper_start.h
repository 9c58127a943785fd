// How a keeper and its daemon come together: the one is started by the other, or connects to it.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "descriptor.h"

namespace kitfs {

// A file that another one takes the place of when another version is installed.
class Installed {
 public:
  explicit Installed(std::string path = "") : path_(std::move(path)) {}

  // Remembers which file it is by now.
  void Note() { noted_ = Look(); }
  // Whether it is another one than was noted. False without one, as in the middle of an installation.
  bool IsReplaced() const;

 private:
  struct Version {
    dev_t device;
    ino_t inode;
    int64_t seconds;  // When it was modified.
    int64_t nanoseconds;
  };

  std::optional<Version> Look() const;

  std::string path_;
  std::optional<Version> noted_;
};

struct Invocation {
  // Seconds; 0: the daemon may be silent.
  int watchdog = 0;
  // Descriptors that the first daemon gets, at their numbers.
  std::vector<int> passed;
  // Where daemons connect; empty: the keeper starts `program`.
  std::string listen;
  // With its arguments, ending with a null pointer.
  char** program = nullptr;
  // What that is made of, as far as it is known.
  Installed made_of;
};

// False when it was not called as it should be; then the usage was printed.
bool ReadInvocation(int count, char** arguments, Invocation& read);

// Closes every descriptor but 0, 1, 2 (opened on /dev/null where closed) and `passed`, and makes those
// close-on-exec.
void TidyDescriptors(const std::vector<int>& passed);

// What a child gets back of what the keeper changed for itself.
struct Inherited {
  sigset_t mask;
  struct sigaction pipe;
};

// Starts a daemon in a process group of its own; `ours` becomes our end of the conversation with it, which it has as
// descriptor 3. -1 when it cannot fork.
pid_t StartDaemon(const Invocation& invocation, const Inherited& inherited, OwnedDescriptor& ours);

// Listens at `path`, for this user only, in place of a keeper that is gone. -1, with why on stderr.
int ListenAt(const std::string& path);

// Whoever connected, if it may: this user or root. -1 otherwise. `process` becomes a pidfd of it, when
// there can be one.
int AcceptDaemon(int listener, OwnedDescriptor& process);

bool SignalProcess(int process, int number);

// Tells the service manager that started this process, if there is one.
void NotifyManager(const char* state);

}  // namespace kitfs
