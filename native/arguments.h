// Reads the arguments of a call, each one checked. A wrong type throws a TypeError, a value out of
// range a RangeError; both name the call and the argument. Nothing is coerced.
//
// Order matters to the caller: options objects may run getters, which may detach a buffer, so they are
// read before ByteSpans. A ByteSpan is valid only until JavaScript runs again.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace kitfs {

// 2^53 - 1, the largest integer that a JavaScript number holds exactly with all its neighbours.
constexpr int64_t kSafeIntegerMax = 9007199254740991;

// Bytes that JavaScript owns.
struct ByteSpan {
  uint8_t* bytes;
  size_t length;
};

// 32-bit words that JavaScript owns.
struct WordSpan {
  uint32_t* words;
  size_t length;
};

// The members of an options object. Absent and undefined are the same.
class Options {
 public:
  Options(Napi::Env env, std::optional<Napi::Object> object, const char* call)
      : env_(env), object_(object), call_(call) {}

  bool Flag(const char* name) const;
  int64_t Integer(const char* name, int64_t least, int64_t most) const;
  int64_t IntegerOr(const char* name, int64_t absent, int64_t least, int64_t most) const;
  std::string Text(const char* name) const;

 private:
  Napi::Value Member(const char* name) const;

  Napi::Env env_;
  std::optional<Napi::Object> object_;
  const char* call_;
};

class Arguments {
 public:
  Arguments(const Napi::CallbackInfo& info, const char* call) : info_(info), call_(call) {}

  Napi::Env Env() const { return info_.Env(); }

  int Descriptor(size_t index, const char* name) const;
  // Also accepts AT_FDCWD.
  int DirectoryDescriptor(size_t index, const char* name) const;
  int64_t Integer(size_t index, const char* name, int64_t least, int64_t most) const;
  int64_t IntegerOr(size_t index, const char* name, int64_t absent, int64_t least,
                    int64_t most) const;
  // An offset or a length in a file: 0 to 2^53 - 1.
  int64_t Offset(size_t index, const char* name) const;
  bool Boolean(size_t index, const char* name) const;
  // A name or a path: a string or a Uint8Array, not empty, without NUL.
  std::string Text(size_t index, const char* name) const;
  std::string TextOrEmpty(size_t index, const char* name) const;
  // An optional options object.
  Options Members(size_t index, const char* name) const;
  Napi::Function Function(size_t index, const char* name) const;
  Napi::Array List(size_t index, const char* name, uint32_t lengthMax) const;
  // A whole Uint8Array.
  ByteSpan Bytes(size_t index, const char* name) const;
  // The part of the Uint8Array at `index` that the two numbers after it (offset, length) name.
  ByteSpan Part(size_t index, const char* name) const;
  // A whole Uint32Array.
  WordSpan Words(size_t index, const char* name) const;
  // A whole Float64Array of at least so many numbers.
  double* Numbers(size_t index, const char* name, size_t least) const;

  bool IsNumber(size_t index) const { return info_[index].IsNumber(); }

  Napi::Error Refuse(const char* name, const std::string& rule) const;
  Napi::Error OutOfRange(const char* name, const std::string& rule) const;

 private:
  const Napi::CallbackInfo& info_;
  const char* call_;
};

// One integer, wherever it came from; `what` begins the message.
int64_t CheckedInteger(Napi::Env env, Napi::Value value, const std::string& what, int64_t least,
                       int64_t most);

// A 64-bit number of the kernel as a JavaScript number, or a RangeError when it would not be exact.
Napi::Number SafeNumber(Napi::Env env, uint64_t number, const char* what);

}  // namespace kitfs
