// See failure.h. glibc knows every error of Linux by name; libuv, the fallback for other C libraries,
// lacks a few that a file system meets (ESTALE, EDQUOT, EUCLEAN).
#include "failure.h"

#include <uv.h>

#include <cerrno>
#include <cstring>
#include <string>

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
#define KITFS_HAS_STRERRORNAME 1
#endif

namespace kitfs {
namespace {

std::string NameOf(int number) {
#ifdef KITFS_HAS_STRERRORNAME
  if (const char* name = strerrorname_np(number)) return name;
#endif
  char name[64];
  return uv_err_name_r(-number, name, sizeof name);
}

std::string DescriptionOf(int number) {
#ifdef KITFS_HAS_STRERRORNAME
  if (const char* description = strerrordesc_np(number)) return description;
#endif
  char description[128];
  return uv_strerror_r(-number, description, sizeof description);
}

}  // namespace

Napi::Error SystemError(Napi::Env env, int number, const char* call) {
  const std::string name = NameOf(number);
  Napi::Error error = Napi::Error::New(env, name + ": " + DescriptionOf(number) + ", " + call);
  error.Set("code", Napi::String::New(env, name));
  error.Set("errno", Napi::Number::New(env, number));
  error.Set("syscall", Napi::String::New(env, call));
  return error;
}

long Checked(Napi::Env env, long result, const char* call) {
  if (result < 0) throw SystemError(env, errno, call);
  return result;
}

}  // namespace kitfs
