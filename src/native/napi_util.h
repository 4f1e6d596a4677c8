// Small conversions shared by the addon's files. System calls answer their result or -errno as a number;
// meaning is given to it in TypeScript.
#pragma once
#include <errno.h>
#include <node_api.h>
#include <stdint.h>

#include <string>

namespace rawstor {

template <size_t N>
struct Args {
  napi_value at[N] = {};
  Args(napi_env env, napi_callback_info info) {
    size_t count = N;
    napi_get_cb_info(env, info, &count, at, nullptr, nullptr);
  }
  napi_value operator[](size_t i) const { return at[i]; }
};

inline int32_t Int(napi_env env, napi_value value) {
  int32_t out = 0;
  napi_get_value_int32(env, value, &out);
  return out;
}

inline uint32_t Uint(napi_env env, napi_value value) {
  uint32_t out = 0;
  napi_get_value_uint32(env, value, &out);
  return out;
}

// Sizes, offsets and addresses: exact below 2^53.
inline int64_t Long(napi_env env, napi_value value) {
  int64_t out = 0;
  napi_get_value_int64(env, value, &out);
  return out;
}

inline std::string Text(napi_env env, napi_value value) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return {};
  std::string out(length, '\0');
  napi_get_value_string_utf8(env, value, &out[0], length + 1, &length);
  return out;
}

inline napi_value Number(napi_env env, int64_t value) {
  napi_value out;
  napi_create_int64(env, value, &out);
  return out;
}

inline napi_value String(napi_env env, const std::string& value) {
  napi_value out;
  napi_create_string_utf8(env, value.data(), value.size(), &out);
  return out;
}

// The result of a system call that says -1 and errno.
inline napi_value Outcome(napi_env env, int64_t result) { return Number(env, result < 0 ? -errno : result); }

inline void Set(napi_env env, napi_value object, const char* name, napi_value value) {
  napi_set_named_property(env, object, name, value);
}

inline void Set(napi_env env, napi_value object, const char* name, int64_t value) {
  Set(env, object, name, Number(env, value));
}

struct Span {
  uint8_t* data = nullptr;
  size_t length = 0;
};

// Bytes of any typed array or Buffer.
inline Span Bytes(napi_env env, napi_value value) {
  Span span;
  void* data = nullptr;
  if (napi_get_buffer_info(env, value, &data, &span.length) == napi_ok) {
    span.data = static_cast<uint8_t*>(data);
  }
  return span;
}

inline void Function(napi_env env, napi_value exports, const char* name, napi_callback callback) {
  napi_value function;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function);
  Set(env, exports, name, function);
}

void RegisterCodec(napi_env env, napi_value exports);
void RegisterCrc32c(napi_env env, napi_value exports);
void RegisterFiles(napi_env env, napi_value exports);
void RegisterForeign(napi_env env, napi_value exports);
void RegisterGuard(napi_env env, napi_value exports);
void RegisterMemory(napi_env env, napi_value exports);
void RegisterMounts(napi_env env, napi_value exports);
void RegisterRing(napi_env env, napi_value exports);
void RegisterSockets(napi_env env, napi_value exports);
void RegisterWatch(napi_env env, napi_value exports);
void RegisterXts(napi_env env, napi_value exports);

// Makes an ArrayBuffer over a mapping that `unmap` (or its collection) gives back.
napi_value MappedArrayBuffer(napi_env env, void* data, size_t length);
// Detaches the ArrayBuffer, then unmaps. Harmless when done already.
void UnmapArrayBuffer(napi_env env, napi_value array_buffer);

}  // namespace rawstor
