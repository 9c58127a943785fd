// A channel: requests come from a FUSE descriptor through the event loop, replies go back to it.
//
// Invariants:
// - The descriptor is the caller's: it is never closed here, and must stay open until close().
// - The arena and the spans belong to JavaScript. Their addresses are asked for anew on every wake-up,
//   because a transfer to another thread detaches them.
// - The Poll belongs to the event loop from uv_poll_init to its close callback, which frees it. The
//   Channel belongs to the garbage collector, and holds itself while it polls.
#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>
#include <uv.h>

#include <algorithm>
#include <climits>
#include <memory>

#include "addon.h"
#include "arguments.h"
#include "failure.h"
#include "fuse_device.h"

namespace kitfs {
namespace {

constexpr int64_t kArenaBytesMax = int64_t{1} << 30;
constexpr int64_t kRequestsMax = 65536;
// After so many rounds other events of the loop have their turn; what is unread wakes us again.
constexpr int kRoundsPerWake = 4;
// A reply that is written by one write(2) never needs more parts than a header and a body.
constexpr int kReplyParts = 2;

class Channel;

struct Poll {
  uv_poll_t handle;
  Channel* channel;  // Null from the moment that the handle is being closed.
  napi_async_cleanup_hook_handle hook;
};

// What stopped a round of reading.
struct Stop {
  enum class Why { kFull, kEmpty, kEnded } why;
  int error;  // Of the end; 0 when the file system was unmounted.
};

class Channel : public Napi::ObjectWrap<Channel> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Channel",
                       {InstanceMethod<&Channel::Reply>("reply"),
                        InstanceMethod<&Channel::ReplyMany>("replyMany"),
                        InstanceMethod<&Channel::ReplyWithBytes>("replyWithBytes"),
                        InstanceMethod<&Channel::Close>("close")});
  }

  explicit Channel(const Napi::CallbackInfo& info);
  ~Channel() override;

 private:
  static void OnReadable(uv_poll_t* handle, int status, int events);
  static void OnTeardown(napi_async_cleanup_hook_handle hook, void* poll);

  void StartPolling();
  void StopPolling();
  void ServeWake(int status);
  Stop ReadRequests(uint32_t* count);
  bool Deliver(const Napi::FunctionReference& callback, double number);
  void CheckOpen(const char* call) const;

  Napi::Value Reply(const Napi::CallbackInfo& info);
  Napi::Value ReplyMany(const Napi::CallbackInfo& info);
  Napi::Value ReplyWithBytes(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);

  int fd_ = -1;
  size_t requestBytesMax_ = 0;
  size_t arenaBytes_ = 0;
  uint32_t requestsMax_ = 0;
  bool closed_ = false;
  Poll* poll_ = nullptr;  // Null when it no longer polls.
  Napi::Reference<Napi::Uint8Array> arena_;
  Napi::Reference<Napi::Uint32Array> spans_;
  Napi::FunctionReference onRequests_;
  Napi::FunctionReference onEnd_;
};

// One reply is one write(2), or the kernel refuses it. Returns 0 or a positive errno.
int WriteReply(int fd, const struct iovec* parts, int count) {
  size_t length = 0;
  for (int i = 0; i < count; i++) length += parts[i].iov_len;
  ssize_t written;
  do {
    written = writev(fd, parts, count);
  } while (written < 0 && errno == EINTR);
  if (written < 0) return errno;
  return static_cast<size_t>(written) == length ? 0 : EIO;
}

Channel::Channel(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Channel>(info) {
  const Arguments args(info, "openChannel");
  fd_ = args.Descriptor(0, "fd");
  const Options options = args.Members(1, "options");
  requestBytesMax_ = static_cast<size_t>(
      options.Integer("requestBytesMax", kRequestBytesMin, kArenaBytesMax));
  arenaBytes_ = static_cast<size_t>(options.Integer(
      "arenaBytes", static_cast<int64_t>(requestBytesMax_), kArenaBytesMax));
  requestsMax_ = static_cast<uint32_t>(options.Integer("requestsMax", 1, kRequestsMax));
  onRequests_ = Napi::Persistent(args.Function(2, "onRequests"));
  onEnd_ = Napi::Persistent(args.Function(3, "onEnd"));

  const Napi::Env env = info.Env();
  const auto arena = Napi::Buffer<uint8_t>::New(env, arenaBytes_);
  const auto spans = Napi::Uint32Array::New(env, size_t{requestsMax_} * 2);
  arena_ = Napi::Reference<Napi::Uint8Array>::New(arena, 1);
  spans_ = Napi::Reference<Napi::Uint32Array>::New(spans, 1);
  Napi::Object self = info.This().As<Napi::Object>();
  self.DefineProperties({Napi::PropertyDescriptor::Value("arena", arena, napi_enumerable),
                         Napi::PropertyDescriptor::Value("spans", spans, napi_enumerable)});
  StartPolling();
}

Channel::~Channel() {
  // Collected while polling happens only at the end of the environment, where OnTeardown came first.
  if (poll_ != nullptr) poll_->channel = nullptr;
}

void Channel::StartPolling() {
  const Napi::Env env = Env();
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) throw Napi::Error::New(env, "no event loop");
  auto poll = std::make_unique<Poll>();
  const int initialized = uv_poll_init(loop, &poll->handle, fd_);
  if (initialized < 0) throw SystemError(env, -initialized, "epoll_ctl");
  poll->handle.data = poll.get();
  poll->channel = this;
  poll->hook = nullptr;
  poll_ = poll.release();
  Ref();
  if (napi_add_async_cleanup_hook(env, OnTeardown, poll_, &poll_->hook) != napi_ok) {
    StopPolling();
    throw Napi::Error::New(env, "openChannel: no cleanup hook");
  }
  const int started = uv_poll_start(&poll_->handle, UV_READABLE, OnReadable);
  if (started < 0) {
    StopPolling();
    throw SystemError(env, -started, "epoll_ctl");
  }
}

void Channel::StopPolling() {
  if (poll_ == nullptr) return;
  Poll* poll = poll_;
  poll_ = nullptr;
  poll->channel = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&poll->handle), [](uv_handle_t* handle) {
    Poll* closed = static_cast<Poll*>(handle->data);
    if (closed->hook != nullptr) napi_remove_async_cleanup_hook(closed->hook);
    delete closed;
  });
  Unref();
}

void Channel::OnTeardown(napi_async_cleanup_hook_handle, void* data) {
  // The close callback removes the hook, and with that lets the environment end.
  const Poll* poll = static_cast<Poll*>(data);
  if (poll->channel != nullptr) poll->channel->StopPolling();
}

void Channel::OnReadable(uv_poll_t* handle, int status, int) {
  Channel* channel = static_cast<Poll*>(handle->data)->channel;
  if (channel != nullptr) channel->ServeWake(status);
}

void Channel::ServeWake(int status) {
  const Napi::HandleScope outer(Env());
  // A callback may close the channel, which must outlive this call.
  [[maybe_unused]] const Napi::Value self = Value();
  for (int round = 0; round < kRoundsPerWake && poll_ != nullptr; round++) {
    const Napi::HandleScope inner(Env());
    uint32_t count = 0;
    Stop stop = ReadRequests(&count);
    // An error without anything to read: libuv has stopped to poll, so this is the end.
    if (stop.why == Stop::Why::kEmpty && status < 0) stop = {Stop::Why::kEnded, -status};
    if (count > 0 && !Deliver(onRequests_, count)) return;
    if (poll_ == nullptr) return;
    if (stop.why == Stop::Why::kEnded) {
      StopPolling();
      Deliver(onEnd_, stop.error);
      return;
    }
    if (stop.why == Stop::Why::kEmpty) return;
  }
}

// Reads requests one after another into the arena; each begins at a multiple of 8, as the kernel's
// structures want to be read.
Stop Channel::ReadRequests(uint32_t* count) {
  Napi::Uint8Array arena = arena_.Value();
  Napi::Uint32Array spans = spans_.Value();
  const bool detached =
      arena.ByteLength() != arenaBytes_ || spans.ElementLength() != size_t{requestsMax_} * 2;
  if (detached) return {Stop::Why::kEnded, EFAULT};
  uint8_t* bytes = arena.Data();
  uint32_t* span = spans.Data();
  size_t used = 0;
  while (*count < requestsMax_ && arenaBytes_ - used >= requestBytesMax_) {
    const ssize_t length = read(fd_, bytes + used, requestBytesMax_);
    if (length > 0) {
      span[*count * 2] = static_cast<uint32_t>(used);
      span[*count * 2 + 1] = static_cast<uint32_t>(length);
      *count += 1;
      used = std::min(arenaBytes_, (used + static_cast<size_t>(length) + 7) & ~size_t{7});
      continue;
    }
    if (length == 0) return {Stop::Why::kEnded, 0};
    // ENOENT: the request was interrupted before it was read. The next one may be there.
    if (errno == EINTR || errno == ENOENT) continue;
    if (errno == EAGAIN) return {Stop::Why::kEmpty, 0};
    return {Stop::Why::kEnded, errno == ENODEV ? 0 : errno};
  }
  return {Stop::Why::kFull, 0};
}

// Calls JavaScript. What it throws is an uncaught exception of the process; then false.
bool Channel::Deliver(const Napi::FunctionReference& callback, double number) {
  const Napi::Env env = Env();
  try {
    callback.MakeCallback(env.Global(), {Napi::Number::New(env, number)});
    return true;
  } catch (const Napi::Error& error) {
    napi_fatal_exception(env, error.Value());
    return false;
  }
}

void Channel::CheckOpen(const char* call) const {
  if (closed_) throw Napi::TypeError::New(Env(), std::string(call) + ": the channel is closed");
}

Napi::Value Channel::Reply(const Napi::CallbackInfo& info) {
  CheckOpen("reply");
  const ByteSpan part = Arguments(info, "reply").Part(0, "buffer");
  const struct iovec parts[] = {{part.bytes, part.length}};
  return Napi::Number::New(info.Env(), WriteReply(fd_, parts, 1));
}

Napi::Value Channel::ReplyMany(const Napi::CallbackInfo& info) {
  CheckOpen("replyMany");
  const Arguments args(info, "replyMany");
  const ByteSpan buffer = args.Bytes(0, "buffer");
  const WordSpan spans = args.Words(1, "spans");
  const int64_t count = args.Integer(2, "count", 0, static_cast<int64_t>(spans.length / 2));
  for (int64_t i = 0; i < count; i++) {
    const uint64_t end = uint64_t{spans.words[i * 2]} + spans.words[i * 2 + 1];
    if (end > buffer.length) throw args.OutOfRange("spans", "must lie within the buffer");
  }
  uint32_t failed = 0;
  for (int64_t i = 0; i < count; i++) {
    const struct iovec parts[] = {{buffer.bytes + spans.words[i * 2], spans.words[i * 2 + 1]}};
    const int error = WriteReply(fd_, parts, 1);
    spans.words[i * 2 + 1] = static_cast<uint32_t>(error);
    if (error != 0 && error != ENOENT) failed++;
  }
  return Napi::Number::New(info.Env(), failed);
}

Napi::Value Channel::ReplyWithBytes(const Napi::CallbackInfo& info) {
  CheckOpen("replyWithBytes");
  const Arguments args(info, "replyWithBytes");
  const ByteSpan header = args.Part(0, "header");
  const ByteSpan body = args.Part(3, "body");
  const struct iovec parts[kReplyParts] = {{header.bytes, header.length},
                                           {body.bytes, body.length}};
  // The kernel takes an empty part for the end of the message.
  const int count = body.length == 0 ? 1 : kReplyParts;
  return Napi::Number::New(info.Env(), WriteReply(fd_, parts, count));
}

Napi::Value Channel::Close(const Napi::CallbackInfo& info) {
  closed_ = true;
  StopPolling();
  return info.Env().Undefined();
}

Napi::Value OpenChannel(const Napi::CallbackInfo& info) {
  const auto* constructors = info.Env().GetInstanceData<Constructors>();
  return constructors->channel.New({info[0], info[1], info[2], info[3]});
}

}  // namespace

void AddChannel(Napi::Env env, Napi::Object exports) {
  env.GetInstanceData<Constructors>()->channel = Napi::Persistent(Channel::Define(env));
  Add(env, exports, "openChannel", OpenChannel);
}

}  // namespace kitfs
