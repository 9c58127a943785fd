// The process that writes for a notifier; see notify.cc.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "descriptor.h"

namespace kitfs {

// Used by one thread at a time. Waits in reads and writes of a socket only, which SIGKILL ends.
class Writer {
 public:
  // `fd` is where the messages go; it stays the caller's and open.
  Writer(int fd, const std::string& program) : fd_(fd), program_(program) {}
  ~Writer() { End(); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Starts the process. Returns 0 or a positive errno.
  int Begin();
  // Has a message written by one write(2). Returns 0 or its errno. A process that somebody ended is started
  // once more: what it was to write may have been written.
  int Write(const std::vector<uint8_t>& message);
  // Ends the process, which writes nothing any more.
  void End();

 private:
  bool Ask(const std::vector<uint8_t>& message, int& error);

  const int fd_;
  const std::string program_;
  OwnedDescriptor socket_;
  pid_t process_ = -1;
};

}  // namespace kitfs
