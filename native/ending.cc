// Ending the process although a thread cannot end. exit(3), as Node calls it, joins the threads of libuv, and one of
// those may wait in the kernel for a disk or a mount that never answers.
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>

#include "addon.h"
#include "arguments.h"
#include "failure.h"

namespace kitfs {
namespace {

constexpr int64_t kMsMax = 60000;

// The thread holds nothing, and ends with the process, whichever way that ends first.
Napi::Value EndWithin(const Napi::CallbackInfo& info) {
  const Arguments args(info, "endWithin");
  const auto delay = std::chrono::milliseconds(args.Integer(0, "delayMs", 0, kMsMax));
  const int code = static_cast<int>(args.Integer(1, "code", 0, 255));
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // All signals stay with the threads of Node.
  bool started = true;
  try {
    std::thread([delay, code] {
      std::this_thread::sleep_for(delay);
      _exit(code);
    }).detach();
  } catch (const std::system_error&) {
    started = false;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!started) throw SystemError(info.Env(), EAGAIN, "pthread_create");
  return info.Env().Undefined();
}

}  // namespace

void AddEnding(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "endWithin", EndWithin);
}

}  // namespace kitfs
