// What Node lacks and the data path needs: rings, mappings, descriptors, checksums. No policy, no protocol.
#include "napi_util.h"

NAPI_MODULE_INIT() {
  rawstor::RegisterCrc32c(env, exports);
  rawstor::RegisterFiles(env, exports);
  rawstor::RegisterMemory(env, exports);
  rawstor::RegisterRing(env, exports);
  rawstor::RegisterSockets(env, exports);
  rawstor::RegisterWatch(env, exports);
  return exports;
}
