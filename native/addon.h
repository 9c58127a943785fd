// What the source files of the addon offer to addon.cc. Each Add… puts its functions on `exports`.
#pragma once

#include <napi.h>

namespace kitfs {

// Constructors belong to one environment: a worker thread has its own. Nothing else is kept.
struct Constructors {
  Napi::FunctionReference channel;
  Napi::FunctionReference notifier;
};

void AddMounting(Napi::Env env, Napi::Object exports);
void AddMountHelper(Napi::Env env, Napi::Object exports);
void AddChannel(Napi::Env env, Napi::Object exports);
void AddNotifier(Napi::Env env, Napi::Object exports);
void AddEnding(Napi::Env env, Napi::Object exports);
void AddNames(Napi::Env env, Napi::Object exports);
void AddFiles(Napi::Env env, Napi::Object exports);
void AddSystemd(Napi::Env env, Napi::Object exports);
void AddXattrs(Napi::Env env, Napi::Object exports);
void AddKeeping(Napi::Env env, Napi::Object exports);

using Call = Napi::Value (*)(const Napi::CallbackInfo&);

inline void Add(Napi::Env env, Napi::Object exports, const char* name, Call call) {
  exports.Set(name, Napi::Function::New(env, call, name));
}

}  // namespace kitfs
