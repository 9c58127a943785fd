// See turns.h. The JavaScript side: what an operation is (`describe`), what the package would garble of
// its answer (`giveStat`, `giveName`, `giveEntry`, `giveDirect`), and the end (`watchEnd`).
// Its only caller is src/base/native.ts, which documents each function.
#include "turns.h"

#include <napi.h>

#include "addon.h"
#include "arguments.h"

namespace kitfs {
namespace {

constexpr int64_t kInodeMax = kSafeIntegerMax;

Napi::ThreadSafeFunction on_end;

Turn& TurnAt(const Arguments& args) {
  const int64_t number = args.Integer(0, "number", 0, kTurnsMax - 1);
  Turn* turn = AllTurns().Find(static_cast<size_t>(number));
  if (turn == nullptr) throw args.OutOfRange("number", "must be that of a turn that waits");
  return *turn;
}

Napi::Value Latin1(Napi::Env env, const std::string& bytes) {
  napi_value text = nullptr;
  NAPI_THROW_IF_FAILED(env, napi_create_string_latin1(env, bytes.data(), bytes.size(), &text),
                       env.Undefined());
  return Napi::Value(env, text);
}

Napi::Value TimeOf(Napi::Env env, const struct timespec& time) {
  if (time.tv_nsec == UTIME_OMIT) return env.Undefined();
  if (time.tv_nsec == UTIME_NOW) return Napi::String::New(env, "now");
  Napi::Object object = Napi::Object::New(env);
  object.Set("s", Napi::Number::New(env, static_cast<double>(time.tv_sec)));
  object.Set("ns", Napi::Number::New(env, static_cast<double>(time.tv_nsec)));
  return object;
}

Napi::Value Describe(const Napi::CallbackInfo& info) {
  const Arguments args(info, "describe");
  const Napi::Env env = info.Env();
  const Turn& turn = TurnAt(args);
  Napi::Object object = Napi::Object::New(env);
  if (turn.has_path) object.Set("path", Latin1(env, turn.path));
  object.Set("other", Latin1(env, turn.other));
  object.Set("uid", Napi::Number::New(env, turn.who.uid));
  object.Set("gid", Napi::Number::New(env, turn.who.gid));
  object.Set("pid", Napi::Number::New(env, turn.who.pid));
  object.Set("umask", Napi::Number::New(env, turn.who.umask));
  object.Set("flags", Napi::Number::New(env, static_cast<uint32_t>(turn.flags)));
  object.Set("isWriteback", Napi::Boolean::New(env, turn.is_writeback));
  object.Set("fh", Napi::Number::New(env, static_cast<double>(turn.fh)));
  object.Set("room", Napi::Number::New(env, static_cast<double>(turn.room)));
  if (turn.allocates) {
    Napi::Object allocate = Napi::Object::New(env);
    allocate.Set("mode", Napi::Number::New(env, turn.allocate_mode));
    allocate.Set("position", Napi::Number::New(env, static_cast<double>(turn.allocate_from)));
    allocate.Set("length", Napi::Number::New(env, static_cast<double>(turn.allocate_bytes)));
    object.Set("allocate", allocate);
  }
  object.Set("atime", TimeOf(env, turn.times[0]));
  object.Set("mtime", TimeOf(env, turn.times[1]));
  return object;
}

struct timespec TimeAt(Napi::Env env, const Napi::Array& numbers, uint32_t index) {
  struct timespec time;
  time.tv_sec = CheckedInteger(env, numbers.Get(index), "giveStat: seconds", -kSafeIntegerMax,
                               kSafeIntegerMax);
  time.tv_nsec =
      CheckedInteger(env, numbers.Get(index + 1), "giveStat: nanoseconds", 0, 999999999);
  return time;
}

Napi::Value GiveStat(const Napi::CallbackInfo& info) {
  const Arguments args(info, "giveStat");
  const Napi::Env env = info.Env();
  Turn& turn = TurnAt(args);
  const Napi::Array numbers = args.List(1, "numbers", 14);
  const auto number = [&](uint32_t index, int64_t most) {
    return CheckedInteger(env, numbers.Get(index), "giveStat: numbers", 0, most);
  };
  struct stat& stat = turn.stat;
  stat.st_ino = static_cast<ino_t>(number(0, kInodeMax));
  stat.st_mode = static_cast<mode_t>(number(1, UINT32_MAX));
  stat.st_nlink = static_cast<nlink_t>(number(2, UINT32_MAX));
  stat.st_uid = static_cast<uid_t>(number(3, UINT32_MAX));
  stat.st_gid = static_cast<gid_t>(number(4, UINT32_MAX));
  stat.st_rdev = static_cast<dev_t>(number(5, UINT32_MAX));
  stat.st_size = number(6, kSafeIntegerMax);
  stat.st_blocks = number(7, kSafeIntegerMax);
  stat.st_atim = TimeAt(env, numbers, 8);
  stat.st_mtim = TimeAt(env, numbers, 10);
  stat.st_ctim = TimeAt(env, numbers, 12);
  return env.Undefined();
}

Napi::Value GiveName(const Napi::CallbackInfo& info) {
  const Arguments args(info, "giveName");
  Turn& turn = TurnAt(args);
  turn.name = args.Text(1, "name");
  return info.Env().Undefined();
}

Napi::Value GiveEntry(const Napi::CallbackInfo& info) {
  const Arguments args(info, "giveEntry");
  Turn& turn = TurnAt(args);
  Entry entry = {args.Text(1, "name"), {}};
  entry.stat.st_ino = static_cast<ino_t>(args.Integer(2, "ino", 0, kInodeMax));
  entry.stat.st_mode = static_cast<mode_t>(args.Integer(3, "type", 0, UINT32_MAX));
  turn.entries.push_back(std::move(entry));
  return info.Env().Undefined();
}

Napi::Value GiveDirect(const Napi::CallbackInfo& info) {
  const Arguments args(info, "giveDirect");
  TurnAt(args).is_direct = true;
  return info.Env().Undefined();
}

Napi::Value WatchEnd(const Napi::CallbackInfo& info) {
  const Arguments args(info, "watchEnd");
  const Napi::Function told = args.Function(0, "told");
  if (on_end) throw args.Refuse("told", "must be given once");
  on_end = Napi::ThreadSafeFunction::New(info.Env(), told, "kitfs.libfuse2", 1, 1);
  on_end.Unref(info.Env());
  return info.Env().Undefined();
}

Napi::Object Start(Napi::Env env, Napi::Object exports) {
  Add(env, exports, "describe", Describe);
  Add(env, exports, "giveStat", GiveStat);
  Add(env, exports, "giveName", GiveName);
  Add(env, exports, "giveEntry", GiveEntry);
  Add(env, exports, "giveDirect", GiveDirect);
  Add(env, exports, "watchEnd", WatchEnd);
  return exports;
}

}  // namespace

Turns& AllTurns() {
  static Turns* turns = new Turns();
  return *turns;
}

void TellEnd() {
  if (on_end) on_end.NonBlockingCall();
}

NODE_API_MODULE(NODE_GYP_MODULE_NAME, Start)

}  // namespace kitfs
