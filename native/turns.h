// What passes between the threads of libfuse 2 and JavaScript: one Turn for each operation that is
// under way. libfuse2.cc fills and empties them, turns.cc shows them to JavaScript.
//
// Invariant: a Turn belongs to one thread of libfuse, which waits inside the package while the event
// loop uses the Turn: the two never touch it at once. A number means a Turn only while its thread
// waits.
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <ctime>
#include <mutex>
#include <string>
#include <vector>

#include "libfuse2.h"

namespace kitfs {

// Threads of libfuse at once; one more operation is answered EBUSY.
constexpr size_t kTurnsMax = 1024;

struct Entry {
  std::string name;
  struct stat stat;
};

// One operation: what libfuse asks, and what JavaScript leaves for it.
struct Turn {
  std::string number;  // Its index in the table, as fuse-native hands it on in place of the path.
  bool waits = false;

  bool has_path = false;
  std::string path;
  std::string other;  // The second path, the target of a link, or the name of an attribute.
  libfuse2::Context who = {};
  int flags = 0;
  bool is_writeback = false;
  uint64_t fh = 0;
  size_t room = 0;
  struct timespec times[2] = {};
  bool allocates = false;  // Then the package calls it ftruncate, which it is not.
  int allocate_mode = 0;
  off_t allocate_from = 0;
  off_t allocate_bytes = 0;

  bool is_direct = false;
  struct stat stat = {};
  std::string name;
  std::vector<Entry> entries;
};

class Turns {
 public:
  // Null when all are taken. The caller's until `Leave`.
  Turn* Enter() {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (size_t index = 0; index < kTurnsMax; ++index) {
      if (turns_[index] != nullptr) continue;
      turns_[index] = new Turn();
      turns_[index]->number = std::to_string(index);
      return turns_[index];
    }
    return nullptr;
  }

  void Leave(Turn* turn) {
    const std::lock_guard<std::mutex> lock(mutex_);
    turns_[std::stoul(turn->number)] = nullptr;
    delete turn;
  }

  void SetWaits(Turn* turn, bool waits) {
    const std::lock_guard<std::mutex> lock(mutex_);
    turn->waits = waits;
  }

  Turn* Find(size_t index) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Turn* turn = turns_[index];
    return turn != nullptr && turn->waits ? turn : nullptr;
  }

 private:
  std::mutex mutex_;
  std::array<Turn*, kTurnsMax> turns_ = {};
};

// Never destroyed: threads of libfuse may outlive everything but the process.
Turns& AllTurns();

// Tells JavaScript that libfuse has ended. On any thread.
void TellEnd();

}  // namespace kitfs
