// kitfs-keeper: holds descriptors for a daemon that may die at any instant, and starts it again. It knows
// nothing of what they are: no FUSE, no journal.
//
//   kitfs-keeper [--watchdog SECONDS] [--pass DESCRIPTOR]... [--made-of FILE] -- PROGRAM ARGUMENTS...
//   kitfs-keeper [--watchdog SECONDS] --listen PATH
//
// The daemon has its end of a SOCK_SEQPACKET socket as descriptor 3, or connects to PATH. A message is one
// packet: a word, a space and the rest of its line, then data. The keeper begins with
//   hello GENERATION LAST    LAST: none, exit N, signal N, hung or unknown, of the daemon before
//   held NAME\nDATA          with the descriptor, for each that is held
//   end
// and hears
//   hold NAME\nDATA          with a descriptor, to be kept in place of an earlier one
//   note NAME\nDATA          other data for one that is held
//   drop NAME
//   mounted DEVICE\nDIR      what to take away when no daemon will come back: the mount with that device
//                            (MAJOR:MINOR in the mount table), if it is the one that is seen at DIR, or
//                            where it is by then, if what is held as `fuse` is its connection and lives
//   unmounted                nothing
//   ready                    it serves: from now on its death is survived, as that by a signal is since `mounted`
//   progress                 it answered something: earlier restarts do not count any more
//   alive                    it is not hung; any other message says so too
//   done                     it ends by its own will: it is not started again
// A second daemon that connects is told `busy`.
//
// While a daemon serves, the next one is there already: it has loaded what it is made of and waits for the
// first word. One that was killed is followed by it; after one that ended by itself, and when another FILE has
// taken the place of that which was there when it began, what starts is what is installed by then. Once one was
// killed two of them wait, for the next may be killed before there would be another one; the second is started
// a while after the first, for loading takes a processor.
//
// Invariants: one thread, which waits in one place and only for what can happen; no memory is taken for a
// message; what the daemon says is checked, and what is wrong is dropped and reported.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <optional>
#include <string>

#include "descriptor.h"
#include "keeper_holds.h"
#include "keeper_mount.h"
#include "keeper_next.h"
#include "keeper_start.h"

namespace kitfs {
namespace {

// Read before others are looked at. A dead daemon is read to its end, which its socket's buffer bounds.
constexpr int kPacketsAtOnce = 64;
constexpr int kPacketsOfTheDead = 65536;
constexpr int64_t kAbortMs = 5000;
// Until the second next daemon is started behind the first.
constexpr int64_t kNextApartMs = 1000;
// Until there is another next daemon, when that one was killed.
constexpr int64_t kNextAgainMs = 60000;
constexpr int kRestartsMax = 10;
constexpr int64_t kRestartMs = 100;
constexpr int64_t kRestartMsMax = 5000;
// A daemon that served for so long did not start for nothing, though nobody may have asked anything.
constexpr int64_t kServedMs = 5000;
constexpr int64_t kNever = INT64_MAX;
constexpr size_t kPathBytesMax = 4095;
constexpr char kConnection[] = "fuse";
// Two numbers of 32 bits.
constexpr size_t kDeviceBytesMax = 21;
// After these the daemon is not started again, however it ends.
constexpr int kEndingSignals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
constexpr int kOtherSignals[] = {SIGUSR1, SIGUSR2};

int64_t NowMs() {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

class Keeper {
 public:
  Keeper(Invocation& invocation, const Inherited& inherited, int signals)
      : invocation_(invocation), inherited_(inherited), signals_(signals), next_(invocation, inherited_) {}

  // Returns the exit status.
  int Run();

 private:
  bool Open();
  void Start();
  void StartNext();
  void DropNext();
  void Meet();
  void Greet();
  bool Converse(int packets_max);
  void Take(const Message& message, OwnedDescriptor& passed);
  bool Obey(const Message& message, OwnedDescriptor& passed);
  void Accept();
  void Disconnected();
  void TakeSignals();
  void Forward(int number);
  void Reap();
  void Ended(int status);
  void Restart();
  void LookAtClock();
  void Kill(int number);
  int64_t NextMs() const { return std::min({start_ms_, next_ms_, silent_ms_, kill_ms_}); }
  void Finish(int code);

  Invocation& invocation_;
  const Inherited inherited_;
  Holds holds_;
  OwnedDescriptor signals_;
  OwnedDescriptor listener_;
  // Our end of the conversation, and when the daemon connected the daemon itself.
  OwnedDescriptor peer_;
  OwnedDescriptor process_;
  pid_t child_ = -1;
  Waiting next_;
  std::string mounted_;  // Empty: nothing is.
  std::string device_;
  std::string last_ = "none";
  unsigned generation_ = 0;
  // What the beginning of a conversation has come to: hello, then each place, then the end.
  size_t greeted_ = 0;
  int restarts_ = 0;
  bool was_ready_ = false;  // Ever.
  bool is_ready_ = false;   // This daemon.
  bool was_killed_ = false;  // Any.
  bool is_done_ = false;
  bool is_asked_ = false;
  bool is_hung_ = false;
  int64_t ready_ms_ = 0;
  int64_t start_ms_ = kNever;
  int64_t next_ms_ = kNever;
  int64_t silent_ms_ = kNever;
  int64_t kill_ms_ = kNever;
  std::optional<int> exit_;
};

constexpr size_t kGreetings = kHeldMax + 2;

int Keeper::Run() {
  if (!Open()) return 1;
  while (!exit_) {
    struct pollfd waits[] = {
        {peer_.Get(), static_cast<short>(greeted_ < kGreetings ? POLLIN | POLLOUT : POLLIN), 0},
        {listener_.Get(), POLLIN, 0},
        {signals_.Get(), POLLIN, 0},
    };
    const int64_t next_ms = NextMs();
    const int64_t left_ms = std::clamp<int64_t>(next_ms - NowMs(), 0, 60000);
    if (poll(waits, 3, next_ms == kNever ? -1 : static_cast<int>(left_ms)) < 0) {
      if (errno == EINTR) continue;
      perror("kitfs-keeper: poll");
      Finish(1);
      break;
    }
    // First what was said: it was said before a signal or a time that has come.
    if ((waits[0].revents & POLLOUT) != 0) Greet();
    if ((waits[0].revents & ~POLLOUT) != 0 && !Converse(kPacketsAtOnce)) Disconnected();
    if (!exit_ && waits[1].revents != 0) Accept();
    if (!exit_ && waits[2].revents != 0) TakeSignals();
    if (!exit_) LookAtClock();
  }
  return *exit_;
}

bool Keeper::Open() {
  if (invocation_.listen.empty()) {
    Start();
    return true;
  }
  listener_.Reset(ListenAt(invocation_.listen));
  if (listener_.IsOpen()) NotifyManager("READY=1");
  return listener_.IsOpen();
}

void Keeper::Start() {
  start_ms_ = kNever;
  child_ = next_.Take(peer_);
  const bool was_there = child_ > 0;
  if (!was_there) child_ = StartDaemon(invocation_, inherited_, peer_);
  if (child_ < 0) {
    perror("kitfs-keeper: cannot start the daemon");
    peer_.Reset();
    last_ = "unknown";
    Restart();
    return;
  }
  // Whoever waits for the other end of one hears when the first daemon has gone.
  for (const int fd : invocation_.passed) close(fd);
  invocation_.passed.clear();
  Meet();
  // Programs wait for that one, so others are started when it is ready; but one, when there is none.
  if (was_there && next_.Count() == 0) StartNext();
}

void Keeper::StartNext() {
  next_ms_ = kNever;
  const size_t wanted = was_killed_ ? 2 : 1;
  if (next_.Count() < wanted) next_.Add();
  if (next_.Count() < wanted) next_ms_ = NowMs() + kNextApartMs;
}

void Keeper::DropNext() {
  next_ms_ = kNever;
  next_.Drop();
}

void Keeper::Meet() {
  generation_++;
  greeted_ = 0;
  is_ready_ = is_done_ = is_hung_ = false;
  silent_ms_ = kill_ms_ = kNever;
  Greet();
}

// As far as there is room; the rest when there is some again.
void Keeper::Greet() {
  while (peer_.IsOpen() && greeted_ < kGreetings) {
    int error;
    if (greeted_ == 0) {
      const std::string hello = "hello " + std::to_string(generation_) + " " + last_;
      error = SendPacket(peer_.Get(), hello);
    } else if (greeted_ <= kHeldMax) {
      error = holds_.Tell(peer_.Get(), greeted_ - 1);
    } else {
      error = SendPacket(peer_.Get(), "end");
    }
    if (error == EAGAIN) return;
    // It is dead already: its end comes by another way. Without all of it no conversation may begin.
    if (error != 0) {
      if (error != EPIPE && error != ECONNRESET) {
        fprintf(stderr, "kitfs-keeper: cannot hand over what is held: %s\n", strerror(error));
      }
      greeted_ = kGreetings;
      shutdown(peer_.Get(), SHUT_RDWR);
      return;
    }
    greeted_++;
  }
}

// False at the end of the conversation.
bool Keeper::Converse(int packets_max) {
  char bytes[kMessageBytesMax];
  for (int i = 0; peer_.IsOpen() && i < packets_max; i++) {
    OwnedDescriptor passed;
    const long length = ReceivePacket(peer_.Get(), bytes, passed);
    if (length == -EAGAIN) return true;
    if (length == -EMSGSIZE) {
      fputs("kitfs-keeper: dropped a message that is too long\n", stderr);
      continue;
    }
    if (length <= 0) return false;
    Take(ParseMessage({bytes, static_cast<size_t>(length)}), passed);
  }
  return true;
}

void Keeper::Take(const Message& message, OwnedDescriptor& passed) {
  if (!Obey(message, passed)) {
    const int shown = static_cast<int>(std::min<size_t>(message.word.size(), 16));
    fprintf(stderr, "kitfs-keeper: dropped a message `%.*s` that cannot be obeyed\n", shown,
            message.word.data());
  }
  const bool is_watched = invocation_.watchdog > 0 && is_ready_ && !is_hung_;
  if (is_watched) silent_ms_ = NowMs() + invocation_.watchdog * int64_t{1000};
}

bool Keeper::Obey(const Message& message, OwnedDescriptor& passed) {
  const auto& [word, rest, data] = message;
  if (word == "alive") return true;
  if (word == "progress") {
    restarts_ = 0;
    return true;
  }
  if (word == "hold") return holds_.Hold(rest, data, passed);
  if (word == "note") return holds_.Note(rest, data);
  if (word == "drop") return holds_.Drop(rest);
  if (word == "mounted") {
    const bool is_path = !data.empty() && data[0] == '/' && data.size() <= kPathBytesMax &&
                         data.find('\0') == std::string_view::npos;
    const bool is_device = !rest.empty() && rest.size() <= kDeviceBytesMax &&
                           rest.find_first_not_of("0123456789:") == std::string_view::npos;
    if (!is_path || !is_device) return false;
    mounted_ = data;
    device_ = rest;
    return true;
  }
  if (word == "unmounted") {
    mounted_.clear();
    return true;
  }
  if (word == "ready") {
    was_ready_ = is_ready_ = true;
    ready_ms_ = NowMs();
    if (!listener_.IsOpen()) next_ms_ = ready_ms_;
    return true;
  }
  if (word != "done") return false;
  is_done_ = true;
  // A connection to the kernel ends with the last descriptor of it, and that shall not be one of ours.
  holds_.DropAll();
  return true;
}

void Keeper::Accept() {
  OwnedDescriptor process;
  OwnedDescriptor made(AcceptDaemon(listener_.Get(), process));
  if (!made.IsOpen()) return;
  if (peer_.IsOpen()) {
    SendPacket(made.Get(), "busy");
    return;
  }
  peer_.Reset(made.Release());
  process_.Reset(process.Release());
  Meet();
}

// The conversation is over. A child is waited for all the same; it cannot say any more that it is alive.
void Keeper::Disconnected() {
  peer_.Reset();
  silent_ms_ = kNever;
  if (!listener_.IsOpen()) return;
  process_.Reset();
  kill_ms_ = kNever;
  last_ = is_hung_ ? "hung" : "unknown";
  if (is_done_) mounted_.clear();
  if (is_asked_) Finish(0);
}

void Keeper::TakeSignals() {
  struct signalfd_siginfo taken;
  while (!exit_ && read(signals_.Get(), &taken, sizeof taken) == sizeof taken) {
    if (taken.ssi_signo == SIGCHLD) {
      Reap();
    } else {
      Forward(static_cast<int>(taken.ssi_signo));
    }
  }
}

void Keeper::Forward(int number) {
  const bool is_ending = std::find(std::begin(kEndingSignals), std::end(kEndingSignals), number) !=
                         std::end(kEndingSignals);
  is_asked_ = is_asked_ || is_ending;
  const bool is_told =
      child_ > 0 ? kill(child_, number) == 0 : SignalProcess(process_.Get(), number);
  if (!is_told && is_ending) Finish(0);
}

// All that have ended: as the first process of a container the keeper is given everybody's orphans.
void Keeper::Reap() {
  int status;
  for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;) {
    if (ended == child_) Ended(status);
    if (next_.Forget(ended)) next_ms_ = NowMs() + kNextAgainMs;
  }
}

void Keeper::Ended(int status) {
  // What it said before it died counts.
  Converse(kPacketsOfTheDead);
  peer_.Reset();
  child_ = -1;
  silent_ms_ = kill_ms_ = kNever;
  const bool exited = WIFEXITED(status);
  if (exited) DropNext();
  was_killed_ = was_killed_ || !exited;
  const int number = exited ? WEXITSTATUS(status) : WTERMSIG(status);
  const std::string how = (exited ? "exit " : "signal ") + std::to_string(number);
  last_ = is_hung_ ? "hung" : how;
  // A program may have used the mount since it is there; who only failed to start gives it back and says why.
  if (!exited && !mounted_.empty()) was_ready_ = true;
  if (is_done_ || is_asked_ || !was_ready_) {
    if (!exited) fprintf(stderr, "kitfs-keeper: the daemon has ended (%s)\n", last_.c_str());
    Finish(exited ? number : 128 + number);
    return;
  }
  fprintf(stderr, "kitfs-keeper: the daemon has ended (%s)\n", last_.c_str());
  if (is_ready_ && !is_hung_ && NowMs() - ready_ms_ >= kServedMs) restarts_ = 0;
  Restart();
}

void Keeper::Restart() {
  if (!was_ready_ || restarts_ == kRestartsMax) {
    if (was_ready_) {
      fprintf(stderr, "kitfs-keeper: gave up after %d starts without an answer\n", kRestartsMax);
    }
    Finish(1);
    return;
  }
  const int64_t delay_ms =
      restarts_ == 0 ? 0 : std::min(kRestartMs << (restarts_ - 1), kRestartMsMax);
  restarts_++;
  start_ms_ = NowMs() + delay_ms;
  fprintf(stderr, "kitfs-keeper: starts it again in %d ms\n", static_cast<int>(delay_ms));
}

void Keeper::LookAtClock() {
  const int64_t now_ms = NowMs();
  if (now_ms >= start_ms_) Start();
  if (now_ms >= next_ms_) StartNext();
  if (now_ms >= silent_ms_) {
    fputs("kitfs-keeper: the daemon is hung and is ended\n", stderr);
    is_hung_ = true;
    silent_ms_ = kNever;
    kill_ms_ = now_ms + kAbortMs;
    Kill(SIGABRT);
  }
  if (now_ms >= kill_ms_) {
    kill_ms_ = kNever;
    Kill(SIGKILL);
  }
}

void Keeper::Kill(int number) {
  if (child_ > 0) {
    kill(child_, number);
  } else {
    SignalProcess(process_.Get(), number);
  }
}

// No daemon will come any more. The connection of a mount that nobody serves ends first, so that nothing can
// hang in it, the one who takes it away included.
void Keeper::Finish(int code) {
  DropNext();
  peer_.Reset();
  Place place;
  if (!mounted_.empty()) place = FindMount(mounted_, device_, holds_.Get(kConnection));
  if (place.has_number) EndConnection(device_);
  holds_.DropAll();
  const bool is_away = place.dir.empty() || TakeMountAway(place.dir);
  if (listener_.IsOpen()) unlink(invocation_.listen.c_str());
  exit_ = code == 0 && !is_away ? 1 : code;
}

// Signals are taken in turn with everything else. -1 when that cannot be.
int BlockSignals(Inherited& inherited) {
  sigset_t taken;
  sigemptyset(&taken);
  sigaddset(&taken, SIGCHLD);
  for (const int number : kEndingSignals) sigaddset(&taken, number);
  for (const int number : kOtherSignals) sigaddset(&taken, number);
  if (sigprocmask(SIG_BLOCK, &taken, &inherited.mask) < 0) return -1;
  // Whoever reads our stderr may be gone.
  struct sigaction ignored = {};
  ignored.sa_handler = SIG_IGN;
  if (sigaction(SIGPIPE, &ignored, &inherited.pipe) < 0) return -1;
  // An inherited ignorance would reap the child unseen.
  struct sigaction plain = {};
  plain.sa_handler = SIG_DFL;
  if (sigaction(SIGCHLD, &plain, nullptr) < 0) return -1;
  return signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
}

}  // namespace
}  // namespace kitfs

int main(int count, char** arguments) {
  kitfs::Invocation invocation;
  if (!kitfs::ReadInvocation(count, arguments, invocation)) return 2;
  kitfs::TidyDescriptors(invocation.passed);
  kitfs::Inherited inherited;
  const int signals = kitfs::BlockSignals(inherited);
  if (signals < 0) {
    perror("kitfs-keeper: signals");
    return 1;
  }
  // Not on the stack: what it can hold is large.
  static kitfs::Keeper keeper(invocation, inherited, signals);
  return keeper.Run();
}
