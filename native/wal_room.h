// The room that a file has on the disk, allocated in advance: see wal_vfs.cc.
#pragma once

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <string>

namespace {

// What is left in the WAL to transactions that free space, some hundreds of small ones; half of it is
// left in the database. A disk of less than 128 MiB leaves them this part of it.
constexpr int64_t kReserveBytesMax = 8 * 1024 * 1024;
constexpr int64_t kReserveOfDisk = 16;
// How much of the disk a file has. `fd` is ours; -1 when nothing can be said about it.
struct Room {
  int fd = -1;
  std::atomic<int64_t> allocated{0};  // From the file's start on.

  Room() = default;
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  ~Room() {
    if (fd >= 0) close(fd);
  }

  void Open(const char* path) { fd = open(path, O_RDWR | O_CLOEXEC); }
};

// The room of a database, shared by all its connections in this process. Closing any descriptor of
// a file drops the locks that the process has on it (fcntl(2)), so this one is closed with the last.
struct DatabaseRoom : Room {
  int connections = 0;
  int64_t reserve = kReserveBytesMax;  // Of the WAL.
};

inline std::mutex rooms_mutex;
// By the path that SQLite opens. Never destroyed: connections may outlive the statics.
auto& rooms = *new std::map<std::string, DatabaseRoom>();

// Allocates up to `end`. 0, or the errno of what kept it from that.
inline int Allocate(Room& room, int64_t end) {
  const int64_t from = room.allocated;
  int result;
  do {
    result = fallocate(room.fd, FALLOC_FL_KEEP_SIZE, from, end - from);
  } while (result < 0 && errno == EINTR);
  if (result < 0 && errno == EOPNOTSUPP) {
    end = std::numeric_limits<int64_t>::max();  // Nobody can tell.
  } else if (result < 0) {
    return errno;
  }
  room.allocated = end;
  return 0;
}

// For each connection that opens the database; one that can write to it needs the descriptor.
inline DatabaseRoom& EnterRoom(const char* path, bool is_writable) {
  const std::lock_guard<std::mutex> lock(rooms_mutex);
  DatabaseRoom& room = rooms[path];
  room.connections += 1;
  if (!is_writable || room.fd >= 0) return room;
  room.Open(path);
  struct statvfs disk = {};
  if (room.fd < 0 || fstatvfs(room.fd, &disk) != 0) return room;
  const auto size = static_cast<int64_t>(disk.f_blocks) * static_cast<int64_t>(disk.f_frsize);
  room.reserve = std::min(kReserveBytesMax, size / kReserveOfDisk);
  return room;
}

// For each that has closed it.
inline void LeaveRoom(const std::string& path) {
  const std::lock_guard<std::mutex> lock(rooms_mutex);
  const auto found = rooms.find(path);
  if (--found->second.connections == 0) rooms.erase(found);
}

}  // namespace
