// A notifier: a thread of its own has messages written to a FUSE descriptor, in order. The kernel may keep
// such a write waiting for a client that itself waits for an answer of this process, so neither the thread
// that answers nor any other of this process writes one: see notify.cc.
//
// Invariants:
// - The Outbox is all that the two threads share; whichever lets go last frees it. It writes to a
//   duplicate of the descriptor, so nobody can close it, or reuse its number, under a write.
// - The Delivery belongs to the event loop until its close callback, and is touched by that thread only.
// - The environment may end while a write is stuck. Then the thread is left behind: it finds no one to
//   wake, and ends with the write or with the process.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#include <uv.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "addon.h"
#include "arguments.h"
#include "descriptor.h"
#include "failure.h"
#include "notifying.h"

namespace kitfs {
namespace {

constexpr int64_t kQueueMax = 1 << 20;
constexpr size_t kMessageBytesMax = 16 << 20;
// How often a descriptor that is full is asked whether the notifier was closed. Not the case of FUSE.
constexpr int kFullPollMs = 50;

struct Message {
  uint64_t id;
  std::vector<uint8_t> bytes;
};

struct Settled {
  uint64_t id;
  int error;  // 0 or a positive errno.
};

class Outbox {
 public:
  Outbox(int fd, const std::string& program) : fd_(fd), writer_(fd, program) {}

  // Starts the process that writes. Returns 0 or a positive errno.
  int Begin() { return writer_.Begin(); }

  void AttachWake(uv_async_t* wake) { wake_ = wake; }

  // After this the thread wakes nobody any more.
  void DetachWake() {
    const std::lock_guard<std::mutex> lock(mutex_);
    wake_ = nullptr;
  }

  void Put(Message message) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      waiting_.push_back(std::move(message));
    }
    changed_.notify_one();
  }

  // The message that is being written is finished, those that wait are cancelled.
  void Stop() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
  }

  std::vector<Settled> Collect(bool* ended) {
    const std::lock_guard<std::mutex> lock(mutex_);
    *ended = ended_;
    std::vector<Settled> settled;
    settled.swap(settled_);
    return settled;
  }

  // The body of the thread.
  void Run() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (stopping_) break;
      const Message message = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      const int error = Write(message.bytes);
      lock.lock();
      settled_.push_back({message.id, error});
      Wake();
    }
    lock.unlock();
    writer_.End();
    lock.lock();
    for (const Message& message : waiting_) settled_.push_back({message.id, ECANCELED});
    waiting_.clear();
    ended_ = true;
    Wake();
  }

 private:
  // Holds the lock: the handle cannot be closed in between.
  void Wake() {
    if (wake_ != nullptr) uv_async_send(wake_);
  }

  bool IsStopping() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return stopping_;
  }

  int Write(const std::vector<uint8_t>& bytes) {
    for (;;) {
      const int error = writer_.Write(bytes);
      if (error != EAGAIN) return error;
      struct pollfd room = {fd_.Get(), POLLOUT, 0};
      if (poll(&room, 1, kFullPollMs) < 0 && errno != EINTR) return errno;
      if (IsStopping()) return ECANCELED;
    }
  }

  const OwnedDescriptor fd_;
  Writer writer_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Message> waiting_;
  std::vector<Settled> settled_;
  bool stopping_ = false;
  bool ended_ = false;
  uv_async_t* wake_ = nullptr;
};

// Brings results to JavaScript.
class Delivery {
 public:
  // Deletes itself when the thread has ended, or when the environment ends.
  static Delivery* Start(Napi::Env env, int fd, const std::string& program);

  Napi::Promise Send(uint64_t id, const ByteSpan& bytes);
  size_t Unsettled() const { return unsettled_.size(); }
  // The Notifier that points here, so that the pointer ends with what it points to.
  void SetOwner(Delivery** owner) { owner_ = owner; }
  void Stop() { outbox_->Stop(); }
  Napi::Promise Ended();

 private:
  Delivery(Napi::Env env, int fd, const std::string& program)
      : env_(env),
        outbox_(std::make_shared<Outbox>(fd, program)),
        context_(env, "kitfs.notifier") {}

  static void OnWake(uv_async_t* wake);
  static void OnTeardown(napi_async_cleanup_hook_handle hook, void* delivery);
  static void OnClosed(uv_handle_t* wake);

  void Settle();
  void CloseWake();
  // The loop is kept alive by promises that are owed, not by a notifier that is merely open.
  void HoldLoop() { uv_ref(reinterpret_cast<uv_handle_t*>(&wake_)); }
  void LetLoopGo() { uv_unref(reinterpret_cast<uv_handle_t*>(&wake_)); }

  const Napi::Env env_;
  const std::shared_ptr<Outbox> outbox_;
  Napi::AsyncContext context_;
  std::thread thread_;
  uv_async_t wake_;
  bool closing_ = false;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  std::map<uint64_t, Napi::Promise::Deferred> unsettled_;
  std::vector<Napi::Promise::Deferred> endings_;
  Delivery** owner_ = nullptr;
};

// All signals stay with the threads of Node.
std::thread StartThread(const std::shared_ptr<Outbox>& outbox) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread;
  try {
    thread = std::thread([outbox] { outbox->Run(); });
    pthread_setname_np(thread.native_handle(), "kitfs-notify");
  } catch (const std::system_error&) {
    // The thread that could not be started is not joinable: the caller sees that.
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

Delivery* Delivery::Start(Napi::Env env, int fd, const std::string& program) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) throw Napi::Error::New(env, "no event loop");
  const long duplicate = Checked(env, fcntl(fd, F_DUPFD_CLOEXEC, 0), "fcntl");
  std::unique_ptr<Delivery> delivery(new Delivery(env, static_cast<int>(duplicate), program));
  const int begun = delivery->outbox_->Begin();
  if (begun != 0) throw SystemError(env, begun, "posix_spawn");
  const int initialized = uv_async_init(loop, &delivery->wake_, OnWake);
  if (initialized < 0) throw SystemError(env, -initialized, "eventfd");
  delivery->wake_.data = delivery.get();
  delivery->LetLoopGo();
  delivery->outbox_->AttachWake(&delivery->wake_);
  delivery->thread_ = StartThread(delivery->outbox_);
  Delivery* started = delivery.release();
  if (!started->thread_.joinable()) {
    started->CloseWake();
    throw SystemError(env, EAGAIN, "pthread_create");
  }
  if (napi_add_async_cleanup_hook(env, OnTeardown, started, &started->hook_) != napi_ok) {
    started->Stop();  // The end of the thread closes the rest.
    throw Napi::Error::New(env, "openNotifier: no cleanup hook");
  }
  return started;
}

Napi::Promise Delivery::Send(uint64_t id, const ByteSpan& bytes) {
  const auto deferred = Napi::Promise::Deferred::New(env_);
  unsettled_.emplace(id, deferred);
  HoldLoop();
  outbox_->Put({id, std::vector<uint8_t>(bytes.bytes, bytes.bytes + bytes.length)});
  return deferred.Promise();
}

Napi::Promise Delivery::Ended() {
  endings_.push_back(Napi::Promise::Deferred::New(env_));
  HoldLoop();
  return endings_.back().Promise();
}

void Delivery::OnWake(uv_async_t* wake) {
  static_cast<Delivery*>(wake->data)->Settle();
}

void Delivery::Settle() {
  if (closing_) return;
  const Napi::HandleScope scope(env_);
  bool ended = false;
  const std::vector<Settled> settled = outbox_->Collect(&ended);
  std::vector<std::pair<Napi::Promise::Deferred, int>> owed;
  for (const Settled& one : settled) {
    const auto found = unsettled_.find(one.id);
    owed.emplace_back(found->second, one.error);
    unsettled_.erase(found);
  }
  std::vector<Napi::Promise::Deferred> endings;
  if (ended) {
    thread_.join();  // It has nothing left to do but to return.
    endings.swap(endings_);
    CloseWake();  // Before any JavaScript, which may ask to close once more.
  }
  if (unsettled_.empty() && endings_.empty()) LetLoopGo();
  try {
    // What awaits these promises runs when the scope is left.
    const Napi::CallbackScope callbacks(env_, context_);
    for (const auto& [deferred, error] : owed) deferred.Resolve(Napi::Number::New(env_, error));
    for (const auto& deferred : endings) deferred.Resolve(env_.Undefined());
  } catch (const Napi::Error&) {
    // The environment is ending and runs no more JavaScript: nobody is left to be told.
  }
}

void Delivery::CloseWake() {
  if (closing_) return;
  closing_ = true;
  outbox_->DetachWake();
  if (owner_ != nullptr) *owner_ = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&wake_), OnClosed);
}

void Delivery::OnClosed(uv_handle_t* wake) {
  Delivery* delivery = static_cast<Delivery*>(wake->data);
  const napi_async_cleanup_hook_handle hook = delivery->hook_;
  {
    const Napi::HandleScope scope(delivery->env_);  // The asynchronous context needs one to end.
    delete delivery;
  }
  if (hook != nullptr) napi_remove_async_cleanup_hook(hook);
}

void Delivery::OnTeardown(napi_async_cleanup_hook_handle, void* data) {
  Delivery* delivery = static_cast<Delivery*>(data);
  delivery->Stop();
  if (delivery->thread_.joinable()) delivery->thread_.detach();
  delivery->CloseWake();
}

class Notifier : public Napi::ObjectWrap<Notifier> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Notifier",
                       {InstanceMethod<&Notifier::Send>("send"),
                        InstanceMethod<&Notifier::Close>("close")});
  }

  explicit Notifier(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Notifier>(info) {
    const Arguments args(info, "openNotifier");
    const int fd = args.Descriptor(0, "fd");
    const Options options = args.Members(1, "options");
    queueMax_ = static_cast<size_t>(options.Integer("queueMax", 1, kQueueMax));
    const std::string program = options.Text("program");
    delivery_ = Delivery::Start(info.Env(), fd, program);
    delivery_->SetOwner(&delivery_);
  }

  // Forgotten without close(): the thread is told to end, and the Delivery follows it.
  ~Notifier() override {
    if (delivery_ == nullptr) return;
    delivery_->SetOwner(nullptr);
    delivery_->Stop();
  }

 private:
  Napi::Value Send(const Napi::CallbackInfo& info) {
    const Arguments args(info, "send");
    const ByteSpan message = args.Bytes(0, "message");
    if (message.length == 0 || message.length > kMessageBytesMax) {
      throw args.OutOfRange("message", "must have 1 to 16 MiB bytes");
    }
    if (closed_ || delivery_ == nullptr) {
      throw Napi::TypeError::New(info.Env(), "send: the notifier is closed");
    }
    if (delivery_->Unsettled() >= queueMax_) {
      const auto refused = Napi::Promise::Deferred::New(info.Env());
      refused.Reject(SystemError(info.Env(), ENOBUFS, "send").Value());
      return refused.Promise();
    }
    return delivery_->Send(nextId_++, message);
  }

  Napi::Value Close(const Napi::CallbackInfo& info) {
    closed_ = true;
    if (delivery_ == nullptr) {
      const auto done = Napi::Promise::Deferred::New(info.Env());
      done.Resolve(info.Env().Undefined());
      return done.Promise();
    }
    const Napi::Promise ended = delivery_->Ended();
    delivery_->Stop();
    return ended;
  }

  size_t queueMax_ = 0;
  uint64_t nextId_ = 1;
  bool closed_ = false;
  Delivery* delivery_ = nullptr;  // Cleared by the Delivery when it closes.
};

Napi::Value OpenNotifier(const Napi::CallbackInfo& info) {
  const auto* constructors = info.Env().GetInstanceData<Constructors>();
  return constructors->notifier.New({info[0], info[1]});
}

}  // namespace

void AddNotifier(Napi::Env env, Napi::Object exports) {
  env.GetInstanceData<Constructors>()->notifier = Napi::Persistent(Notifier::Define(env));
  Add(env, exports, "openNotifier", OpenNotifier);
}

}  // namespace kitfs
