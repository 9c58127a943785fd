// See arguments.h.
#include "arguments.h"

#include <fcntl.h>

#include <climits>
#include <cmath>

namespace kitfs {
namespace {

std::string Named(const char* call, const char* name) {
  return std::string(call) + ": " + name;
}

// The bytes of a string or a Uint8Array, checked to be usable as a C string.
std::string CheckedText(Napi::Env env, Napi::Value value, const std::string& what, bool mayBeEmpty) {
  std::string text;
  if (value.IsString()) {
    text = value.As<Napi::String>().Utf8Value();
  } else if (value.IsTypedArray() &&
             value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array) {
    const auto bytes = value.As<Napi::Uint8Array>();
    if (bytes.ElementLength() > 0) {
      text.assign(reinterpret_cast<const char*>(bytes.Data()), bytes.ElementLength());
    }
  } else {
    throw Napi::TypeError::New(env, what + " must be a string or a Buffer");
  }
  if (text.empty() && !mayBeEmpty) throw Napi::RangeError::New(env, what + " must not be empty");
  if (text.find('\0') != std::string::npos) {
    throw Napi::RangeError::New(env, what + " must not contain NUL");
  }
  return text;
}

}  // namespace

int64_t CheckedInteger(Napi::Env env, Napi::Value value, const std::string& what, int64_t least,
                       int64_t most) {
  if (!value.IsNumber()) throw Napi::TypeError::New(env, what + " must be a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  // NaN fails every comparison, so the test is for what is right, not for what is wrong.
  const bool fits = number >= static_cast<double>(least) && number <= static_cast<double>(most) &&
                    std::trunc(number) == number;
  if (!fits) {
    throw Napi::RangeError::New(env, what + " must be an integer from " + std::to_string(least) +
                                         " to " + std::to_string(most));
  }
  return static_cast<int64_t>(number);
}

Napi::Number SafeNumber(Napi::Env env, uint64_t number, const char* what) {
  if (number > static_cast<uint64_t>(kSafeIntegerMax)) {
    throw Napi::RangeError::New(env, std::string(what) + " does not fit a JavaScript number");
  }
  return Napi::Number::New(env, static_cast<double>(number));
}

Napi::Value Options::Member(const char* name) const {
  return object_ ? object_->Get(name) : env_.Undefined();
}

bool Options::Flag(const char* name) const {
  const Napi::Value value = Member(name);
  if (value.IsUndefined()) return false;
  if (!value.IsBoolean()) {
    throw Napi::TypeError::New(env_, Named(call_, name) + " must be a boolean");
  }
  return value.As<Napi::Boolean>().Value();
}

int64_t Options::Integer(const char* name, int64_t least, int64_t most) const {
  return CheckedInteger(env_, Member(name), Named(call_, name), least, most);
}

int64_t Options::IntegerOr(const char* name, int64_t absent, int64_t least, int64_t most) const {
  const Napi::Value value = Member(name);
  if (value.IsUndefined()) return absent;
  return CheckedInteger(env_, value, Named(call_, name), least, most);
}

std::string Options::Text(const char* name) const {
  return CheckedText(env_, Member(name), Named(call_, name), false);
}

int Arguments::Descriptor(size_t index, const char* name) const {
  return static_cast<int>(Integer(index, name, 0, INT_MAX));
}

int Arguments::DirectoryDescriptor(size_t index, const char* name) const {
  const Napi::Value value = info_[index];
  if (value.IsNumber() && value.As<Napi::Number>().DoubleValue() == AT_FDCWD) return AT_FDCWD;
  return Descriptor(index, name);
}

int64_t Arguments::Integer(size_t index, const char* name, int64_t least, int64_t most) const {
  const Napi::Value value = info_[index];
  // The common case builds no message: this is on the path of every reply.
  if (value.IsNumber()) {
    const double number = value.As<Napi::Number>().DoubleValue();
    if (number >= static_cast<double>(least) && number <= static_cast<double>(most) &&
        std::trunc(number) == number) {
      return static_cast<int64_t>(number);
    }
  }
  return CheckedInteger(Env(), value, Named(call_, name), least, most);
}

int64_t Arguments::IntegerOr(size_t index, const char* name, int64_t absent, int64_t least,
                             int64_t most) const {
  return info_[index].IsUndefined() ? absent : Integer(index, name, least, most);
}

int64_t Arguments::Offset(size_t index, const char* name) const {
  return Integer(index, name, 0, kSafeIntegerMax);
}

bool Arguments::Boolean(size_t index, const char* name) const {
  const Napi::Value value = info_[index];
  if (!value.IsBoolean()) throw Refuse(name, "must be a boolean");
  return value.As<Napi::Boolean>().Value();
}

std::string Arguments::Text(size_t index, const char* name) const {
  return CheckedText(Env(), info_[index], Named(call_, name), false);
}

std::string Arguments::TextOrEmpty(size_t index, const char* name) const {
  return CheckedText(Env(), info_[index], Named(call_, name), true);
}

Options Arguments::Members(size_t index, const char* name) const {
  const Napi::Value value = info_[index];
  if (value.IsUndefined()) return Options(Env(), std::nullopt, call_);
  if (!value.IsObject() || value.IsFunction()) throw Refuse(name, "must be an object");
  return Options(Env(), value.As<Napi::Object>(), call_);
}

Napi::Function Arguments::Function(size_t index, const char* name) const {
  const Napi::Value value = info_[index];
  if (!value.IsFunction()) throw Refuse(name, "must be a function");
  return value.As<Napi::Function>();
}

Napi::Array Arguments::List(size_t index, const char* name, uint32_t lengthMax) const {
  const Napi::Value value = info_[index];
  if (!value.IsArray()) throw Refuse(name, "must be an array");
  const auto list = value.As<Napi::Array>();
  if (list.Length() > lengthMax) {
    throw OutOfRange(name, "must have at most " + std::to_string(lengthMax) + " elements");
  }
  return list;
}

ByteSpan Arguments::Bytes(size_t index, const char* name) const {
  const Napi::Value value = info_[index];
  if (!value.IsTypedArray()) throw Refuse(name, "must be a Buffer");
  const auto array = value.As<Napi::TypedArray>();
  if (array.TypedArrayType() != napi_uint8_array) throw Refuse(name, "must be a Buffer");
  auto bytes = value.As<Napi::Uint8Array>();
  return {bytes.Data(), bytes.ElementLength()};
}

ByteSpan Arguments::Part(size_t index, const char* name) const {
  const ByteSpan whole = Bytes(index, name);
  const int64_t offset = Offset(index + 1, "offset");
  const int64_t length = Offset(index + 2, "length");
  // Two numbers below 2^53 cannot overflow their sum in 64 bits.
  if (static_cast<uint64_t>(offset) + static_cast<uint64_t>(length) > whole.length) {
    throw OutOfRange(name, "is shorter than offset + length");
  }
  return {whole.bytes + offset, static_cast<size_t>(length)};
}

WordSpan Arguments::Words(size_t index, const char* name) const {
  const Napi::Value value = info_[index];
  if (!value.IsTypedArray()) throw Refuse(name, "must be a Uint32Array");
  const auto array = value.As<Napi::TypedArray>();
  if (array.TypedArrayType() != napi_uint32_array) throw Refuse(name, "must be a Uint32Array");
  auto words = value.As<Napi::Uint32Array>();
  return {words.Data(), words.ElementLength()};
}

double* Arguments::Numbers(size_t index, const char* name, size_t least) const {
  const Napi::Value value = info_[index];
  const bool isFit = value.IsTypedArray() &&
                     value.As<Napi::TypedArray>().TypedArrayType() == napi_float64_array &&
                     value.As<Napi::Float64Array>().ElementLength() >= least;
  if (!isFit) {
    throw Refuse(name, "must be a Float64Array of at least " + std::to_string(least) + " numbers");
  }
  return value.As<Napi::Float64Array>().Data();
}

Napi::Error Arguments::Refuse(const char* name, const std::string& rule) const {
  return Napi::TypeError::New(Env(), Named(call_, name) + " " + rule);
}

Napi::Error Arguments::OutOfRange(const char* name, const std::string& rule) const {
  return Napi::RangeError::New(Env(), Named(call_, name) + " " + rule);
}

}  // namespace kitfs
