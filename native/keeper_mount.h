// What a keeper does about a mount whose daemon will not come back.
#pragma once

#include <string>

namespace kitfs {

struct Place {
  bool has_number = false;  // Whether the mount's device number is still its own.
  std::string dir;          // Where it is, and seen. Empty: nowhere.
};

// Looks for the mount of kitfs with that `device` (MAJOR:MINOR), which was at `dir`. As long as `connection`,
// its open /dev/fuse, has not ended (-1: it has), the number is not another mount's, and it is looked for
// everywhere: a directory above it may have been renamed.
Place FindMount(const std::string& dir, const std::string& device, int connection);

// Ends the connection of the mount with that number, whoever has descriptors of it: the process that wrote for
// a daemon may be stuck in a write to it, behind a program that waits for an answer. So may who mounted, where
// the file system for it (fusectl) is mounted.
void EndConnection(const std::string& device);

// Takes the mount that is seen at `dir` away, whoever uses it. False, with why on stderr, when it stays.
bool TakeMountAway(const std::string& dir);

}  // namespace kitfs
