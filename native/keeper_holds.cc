// See keeper_holds.h.
#include "keeper_holds.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace kitfs {
namespace {

bool IsName(std::string_view name) {
  if (name.empty() || name.size() > kNameBytesMax) return false;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
    if (!plain) return false;
  }
  return true;
}

// Keeps the first descriptor of a packet; ends the others, which nobody expects.
void TakeDescriptors(struct msghdr& message, OwnedDescriptor& kept) {
  for (struct cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
      if (kept.IsOpen()) {
        close(fd);
      } else {
        kept.Reset(fd);
      }
    }
  }
}

}  // namespace

Message ParseMessage(std::string_view packet) {
  Message message;
  const size_t line = packet.find('\n');
  if (line != std::string_view::npos) message.data = packet.substr(line + 1);
  const std::string_view first = packet.substr(0, line);
  const size_t space = first.find(' ');
  message.word = first.substr(0, space);
  if (space != std::string_view::npos) message.rest = first.substr(space + 1);
  return message;
}

int SendPacket(int socket, std::string_view packet, int passed) {
  struct iovec part = {const_cast<char*>(packet.data()), packet.size()};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (passed >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &passed, sizeof passed);
  }
  for (;;) {
    if (sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

long ReceivePacket(int socket, char* bytes, OwnedDescriptor& passed) {
  struct iovec part = {bytes, kMessageBytesMax};
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t length;
  do {
    length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (length < 0 && errno == EINTR);
  if (length < 0) return -errno;
  TakeDescriptors(message, passed);
  if ((message.msg_flags & MSG_TRUNC) != 0) return -EMSGSIZE;
  return length;
}

void Holds::Held::Note(std::string_view given) {
  // A packet has a line before its data, so it always fits.
  data_length = given.copy(data, sizeof data);
}

Holds::Held* Holds::Find(std::string_view name) {
  for (Held& held : held_) {
    if (held.fd.IsOpen() && held.Name() == name) return &held;
  }
  return nullptr;
}

bool Holds::Hold(std::string_view name, std::string_view data, OwnedDescriptor& fd) {
  if (!IsName(name) || !fd.IsOpen()) return false;
  Held* place = Find(name);
  for (Held& held : held_) {
    if (place == nullptr && !held.fd.IsOpen()) place = &held;
  }
  if (place == nullptr) return false;
  place->fd.Reset(fd.Release());
  memcpy(place->name, name.data(), name.size());
  place->name_length = name.size();
  place->Note(data);
  return true;
}

bool Holds::Note(std::string_view name, std::string_view data) {
  Held* place = Find(name);
  if (place != nullptr) place->Note(data);
  return place != nullptr;
}

bool Holds::Drop(std::string_view name) {
  Held* place = Find(name);
  if (place != nullptr) place->fd.Reset();
  return place != nullptr;
}

void Holds::DropAll() {
  for (Held& held : held_) held.fd.Reset();
}

int Holds::Get(std::string_view name) {
  const Held* held = Find(name);
  return held == nullptr ? -1 : held->fd.Get();
}

int Holds::Tell(int socket, size_t place) const {
  const Held& held = held_[place];
  if (!held.fd.IsOpen()) return 0;
  // As long as the message that it came in, which was not too long.
  char packet[kMessageBytesMax];
  const int line = snprintf(packet, sizeof packet, "held %.*s\n", static_cast<int>(held.name_length),
                            held.name);
  const size_t room = sizeof packet - static_cast<size_t>(line);
  const size_t length = held.data_length < room ? held.data_length : room;
  memcpy(packet + line, held.data, length);
  return SendPacket(socket, {packet, static_cast<size_t>(line) + length}, held.fd.Get());
}

}  // namespace kitfs
