// What the keeper holds for a daemon, and the messages it is told in.
//
// Invariants: at most kHeldMax descriptors, each with at most a message of data, in memory that was there
// from the beginning; every one close-on-exec; a name is held once.
#pragma once

#include <cstddef>
#include <string_view>

#include "descriptor.h"

namespace kitfs {

constexpr size_t kMessageBytesMax = 8192;
constexpr size_t kHeldMax = 16;
constexpr size_t kNameBytesMax = 32;

// One packet: a word, after a space the rest of its line, and what follows the line.
struct Message {
  std::string_view word;
  std::string_view rest;
  std::string_view data;
};

Message ParseMessage(std::string_view packet);

// Sends one packet, and a descriptor with it unless that is negative. 0 or an errno; EAGAIN: no room.
int SendPacket(int socket, std::string_view packet, int passed = -1);

// Takes one packet of at most kMessageBytesMax. Its length, 0 at the end, or a negative errno: -EAGAIN when
// there is none, -EMSGSIZE when it was longer. A descriptor that came with it is put into `passed`.
long ReceivePacket(int socket, char* bytes, OwnedDescriptor& passed);

class Holds {
 public:
  // Each is false when it could not be: no such name, a bad one, no descriptor, or no room.
  bool Hold(std::string_view name, std::string_view data, OwnedDescriptor& fd);
  bool Note(std::string_view name, std::string_view data);
  bool Drop(std::string_view name);
  void DropAll();

  // -1 when nothing is held by that name.
  int Get(std::string_view name);

  // Tells the other end of the held descriptor at that place, if there is one. As SendPacket.
  int Tell(int socket, size_t place) const;

 private:
  struct Held {
    OwnedDescriptor fd;
    char name[kNameBytesMax];
    size_t name_length = 0;
    char data[kMessageBytesMax];
    size_t data_length = 0;

    std::string_view Name() const { return {name, name_length}; }
    void Note(std::string_view given);
  };

  Held* Find(std::string_view name);

  Held held_[kHeldMax];
};

}  // namespace kitfs
