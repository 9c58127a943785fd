// What a keeper does about a mount whose daemon will not come back.
#pragma once

namespace kitfs {

// Takes the mount of kitfs at `dir` away, whoever uses it; done also when there is none. Nobody serves
// it any more, and no descriptor of its connection is open here. False, with why on stderr, when it stays.
bool TakeMountAway(const char* dir);

}  // namespace kitfs
