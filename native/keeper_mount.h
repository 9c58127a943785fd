// What a keeper does about a mount whose daemon will not come back.
#pragma once

#include <string>

namespace kitfs {

// Takes the mount of kitfs with that `device` (MAJOR:MINOR) at `dir` away, whoever uses it; done also when
// another one is seen there, or none. Nobody serves it any more, and no descriptor of its connection is open
// here. False, with why on stderr, when it stays.
bool TakeMountAway(const char* dir, const std::string& device);

}  // namespace kitfs
