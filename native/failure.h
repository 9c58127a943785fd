// A failed system call as a JavaScript Error: `code` ('ENOENT'), `errno` (positive), `syscall`.
#pragma once

#include <napi.h>

namespace kitfs {

Napi::Error SystemError(Napi::Env env, int number, const char* call);

// Throws SystemError when `result` is negative; otherwise returns it. `errno` must be that of `call`.
long Checked(Napi::Env env, long result, const char* call);

}  // namespace kitfs
