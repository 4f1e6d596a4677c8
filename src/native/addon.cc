// What Node lacks and the data path needs: rings, mappings, descriptors, checksums, ciphers of many sectors, codecs. No policy, no protocol.
#include "napi_util.h"

NAPI_MODULE_INIT() {
  rawstor::RegisterCodec(env, exports);
  rawstor::RegisterCrc32c(env, exports);
  rawstor::RegisterFiles(env, exports);
  rawstor::RegisterForeign(env, exports);
  rawstor::RegisterGuard(env, exports);
  rawstor::RegisterMemory(env, exports);
  rawstor::RegisterMounts(env, exports);
  rawstor::RegisterRing(env, exports);
  rawstor::RegisterSockets(env, exports);
  rawstor::RegisterWatch(env, exports);
  rawstor::RegisterXts(env, exports);
  // Compared by the loader (src/native/index.ts): raised with every change of what is offered.
  rawstor::Set(env, exports, "abi", static_cast<int64_t>(10));
  return exports;
}
