// One message to the manager of services, as sd_notify(3) sends it: a datagram of NAME=VALUE lines to the Unix socket
// that the manager named in $NOTIFY_SOCKET. Node has no datagram sockets of that family.
//
// Invariants: a manager that does not read is waited for a second at most; the socket lives as long as the call; the
// environment is not read here.
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>

#include "addon.h"
#include "arguments.h"
#include "descriptor.h"
#include "failure.h"

namespace kitfs {
namespace {

// What the manager reads at most: systemd's NOTIFY_BUFFER_MAX.
constexpr size_t kMessageBytesMax = 4096;
// sd_notify(3) waits for ever. The queue holds 512 messages, so a full one means a manager that is stuck.
constexpr struct timeval kPatience = {1, 0};

// A path begins with `/`; a name of the abstract kind with `@`, which stands for a NUL. The length counts: an abstract
// name ends where the address does, and bytes behind it would be part of it.
socklen_t AddressOf(const Arguments& args, const std::string& name, struct sockaddr_un* address) {
  if (name[0] != '/' && name[0] != '@') throw args.OutOfRange("socket", "must begin with / or @");
  // A path needs its NUL as well.
  if (name.size() >= sizeof address->sun_path) {
    throw args.OutOfRange("socket", "must be shorter than 108 bytes");
  }
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path, name.data(), name.size());
  const size_t base = offsetof(struct sockaddr_un, sun_path);
  if (name[0] == '/') return static_cast<socklen_t>(base + name.size() + 1);
  address->sun_path[0] = '\0';
  return static_cast<socklen_t>(base + name.size());
}

Napi::Value TellSystemd(const Napi::CallbackInfo& info) {
  const Arguments args(info, "tellSystemd");
  const std::string name = args.Text(0, "socket");
  const std::string message = args.Text(1, "message");
  if (message.size() > kMessageBytesMax) {
    throw args.OutOfRange("message", "must have at most 4096 bytes");
  }
  struct sockaddr_un address = {};
  const socklen_t length = AddressOf(args, name, &address);
  const OwnedDescriptor fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  Checked(info.Env(), fd.Get(), "socket");
  Checked(info.Env(), setsockopt(fd.Get(), SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience),
          "setsockopt");
  ssize_t sent;
  do {
    sent = sendto(fd.Get(), message.data(), message.size(), MSG_NOSIGNAL,
                  reinterpret_cast<struct sockaddr*>(&address), length);
  } while (sent < 0 && errno == EINTR);
  Checked(info.Env(), sent, "sendto");
  return info.Env().Undefined();
}

}  // namespace

void AddSystemd(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "tellSystemd", TellSystemd);
}

}  // namespace kitfs
