// The daemons that are there before they are needed.
#pragma once

#include <sys/types.h>

#include <list>

#include "descriptor.h"
#include "keeper_start.h"

namespace kitfs {

class Waiting {
 public:
  Waiting(const Invocation& invocation, const Inherited& inherited)
      : invocation_(invocation), inherited_(inherited) {}

  size_t Count() const { return all_.size(); }
  void Add();
  // The oldest, and our end of the conversation with it. -1: there is none of the version that is installed.
  pid_t Take(OwnedDescriptor& peer);
  // Whether the one that has ended was one of them.
  bool Forget(pid_t ended);
  // Ends them: they have begun nothing, and there is nothing for them to end well.
  void Drop();

 private:
  struct Next {
    pid_t process;
    OwnedDescriptor peer;
    Installed made_of;
  };

  const Invocation& invocation_;
  const Inherited& inherited_;
  std::list<Next> all_;  // The oldest first.
};

}  // namespace kitfs
