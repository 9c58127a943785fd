// The native addon of kitfs: the calls that Node lacks, and a way to read FUSE requests and write
// replies from the event loop. Mechanism, never policy; it does not know a byte of the FUSE protocol.
//
// Invariants: every argument is checked before it is used; no state outside the objects handed out and
// the constructors of one environment; every descriptor made here is close-on-exec.
// Its only caller is src/base/native.ts, which documents each function.
#include "addon.h"

namespace kitfs {

Napi::Object Start(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Constructors());  // Freed by Node when the environment ends.
  AddMounting(env, exports);
  AddMountHelper(env, exports);
  AddChannel(env, exports);
  AddNotifier(env, exports);
  AddEnding(env, exports);
  AddNames(env, exports);
  AddFiles(env, exports);
  AddSystemd(env, exports);
  AddXattrs(env, exports);
  AddKeeping(env, exports);
  return exports;
}

NODE_API_MODULE(NODE_GYP_MODULE_NAME, Start)

}  // namespace kitfs
