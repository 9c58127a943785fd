// Starts daemons before they are needed, and gives them away in the order they were started.
#include "keeper_next.h"

#include <signal.h>

#include <algorithm>

namespace kitfs {

void Waiting::Add() {
  Next& next = all_.emplace_back();
  next.made_of = invocation_.made_of;
  next.made_of.Note();
  next.process = StartDaemon(invocation_, inherited_, next.peer);
  if (next.process < 0) all_.pop_back();
}

pid_t Waiting::Take(OwnedDescriptor& peer) {
  // Threads that it starts later would be of another version.
  if (!all_.empty() && all_.front().made_of.IsReplaced()) Drop();
  if (all_.empty()) return -1;
  const pid_t process = all_.front().process;
  peer.Reset(all_.front().peer.Release());
  all_.pop_front();
  return process;
}

bool Waiting::Forget(pid_t ended) {
  const auto is_ended = [ended](const Next& next) { return next.process == ended; };
  const auto found = std::find_if(all_.begin(), all_.end(), is_ended);
  if (found == all_.end()) return false;
  all_.erase(found);
  return true;
}

void Waiting::Drop() {
  for (const Next& next : all_) kill(next.process, SIGKILL);
  all_.clear();
}

}  // namespace kitfs
