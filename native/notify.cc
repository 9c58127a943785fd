// kitfs-notify: writes messages to a FUSE descriptor for a daemon. The kernel may keep such a write waiting
// for a client that itself waits for an answer of the daemon, and nothing ends that wait, not even SIGKILL: a
// daemon with a thread in it could not die, and the one after it could not begin. So a process of its own does.
//
// Descriptor 3 is a stream socket: a length of 4 bytes and so many bytes come in, for each message one number
// of 4 bytes goes out: 0, or the errno of write(2). Descriptor 4 is where they are written. It ends with the
// conversation.
#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#include <vector>

namespace {

constexpr int kSocket = 3;
constexpr int kTarget = 4;
constexpr uint32_t kMessageBytesMax = 16 << 20;

// False at the end of the conversation.
bool ReadAll(void* into, size_t length) {
  char* bytes = static_cast<char*>(into);
  while (length > 0) {
    const ssize_t got = read(kSocket, bytes, length);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes += got;
    length -= static_cast<size_t>(got);
  }
  return true;
}

int WriteMessage(const std::vector<char>& message) {
  ssize_t written;
  do {
    written = write(kTarget, message.data(), message.size());
  } while (written < 0 && errno == EINTR);
  if (written < 0) return errno;
  return static_cast<size_t>(written) == message.size() ? 0 : EIO;
}

}  // namespace

int main() {
  std::vector<char> message;
  for (uint32_t length; ReadAll(&length, sizeof length);) {
    if (length == 0 || length > kMessageBytesMax) return 1;
    message.resize(length);
    if (!ReadAll(message.data(), length)) break;
    const int32_t error = WriteMessage(message);
    if (write(kSocket, &error, sizeof error) != sizeof error) break;
  }
  return 0;
}
