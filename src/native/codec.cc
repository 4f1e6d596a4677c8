// zstd and LZ4 on threads of libuv's pool, from one buffer to another that has a length: nothing is ever written, nor asked of memory, for
// more than that. The libraries are Debian's (libzstd1, liblz4-1; dpkg and apt have them), found when they are first asked for, by their stable
// ABI: nothing of them is needed to build, and without them all but this works.
#include <dlfcn.h>

#include "napi_util.h"

namespace rawstor {
namespace {

enum Method : int32_t { kZstd = 1, kLz4 = 2 };

// zstd.h, "Explicit context"; contexts are of one thread at a time.
struct Zstd {
  void* (*create_c)() = nullptr;
  size_t (*free_c)(void*) = nullptr;
  size_t (*compress)(void*, void*, size_t, const void*, size_t, int) = nullptr;
  void* (*create_d)() = nullptr;
  size_t (*free_d)(void*) = nullptr;
  size_t (*decompress)(void*, void*, size_t, const void*, size_t) = nullptr;
  unsigned (*is_error)(size_t) = nullptr;
  bool whole = false;
};

// lz4.h, "Simple Functions".
struct Lz4 {
  int (*compress)(const char*, char*, int, int) = nullptr;
  int (*decompress)(const char*, char*, int, int) = nullptr;
  bool whole = false;
};

template <typename F>
bool Find(void* library, const char* name, F* out) {
  *out = reinterpret_cast<F>(dlsym(library, name));
  return *out != nullptr;
}

const Zstd& ZstdLibrary() {
  static const Zstd found = [] {
    Zstd one;
    void* library = dlopen("libzstd.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return one;
    one.whole = Find(library, "ZSTD_createCCtx", &one.create_c) && Find(library, "ZSTD_freeCCtx", &one.free_c) &&
                Find(library, "ZSTD_compressCCtx", &one.compress) && Find(library, "ZSTD_createDCtx", &one.create_d) &&
                Find(library, "ZSTD_freeDCtx", &one.free_d) && Find(library, "ZSTD_decompressDCtx", &one.decompress) &&
                Find(library, "ZSTD_isError", &one.is_error);
    return one;
  }();
  return found;
}

const Lz4& Lz4Library() {
  static const Lz4 found = [] {
    Lz4 one;
    void* library = dlopen("liblz4.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return one;
    one.whole = Find(library, "LZ4_compress_default", &one.compress) &&
                Find(library, "LZ4_decompress_safe", &one.decompress);
    return one;
  }();
  return found;
}

struct Contexts {
  void* compressing = nullptr;
  void* decompressing = nullptr;
  ~Contexts() {
    if (compressing != nullptr) ZstdLibrary().free_c(compressing);
    if (decompressing != nullptr) ZstdLibrary().free_d(decompressing);
  }
};
thread_local Contexts contexts;

// Bytes written, -1 where it does not fit or is no such data.
int64_t RunZstd(bool compressing, int level, Span from, Span to) {
  const Zstd& zstd = ZstdLibrary();
  if (!zstd.whole) return -1;
  void*& context = compressing ? contexts.compressing : contexts.decompressing;
  if (context == nullptr) context = compressing ? zstd.create_c() : zstd.create_d();
  if (context == nullptr) return -1;
  const size_t done = compressing ? zstd.compress(context, to.data, to.length, from.data, from.length, level)
                                  : zstd.decompress(context, to.data, to.length, from.data, from.length);
  return zstd.is_error(done) ? -1 : static_cast<int64_t>(done);
}

int64_t RunLz4(bool compressing, Span from, Span to) {
  const Lz4& lz4 = Lz4Library();
  if (!lz4.whole || from.length > INT32_MAX || to.length > INT32_MAX) return -1;
  const auto run = compressing ? lz4.compress : lz4.decompress;
  const int done = run(reinterpret_cast<const char*>(from.data), reinterpret_cast<char*>(to.data),
                       static_cast<int>(from.length), static_cast<int>(to.length));
  return done < 0 || (compressing && done == 0) ? -1 : done;
}

struct Job {
  int32_t method = 0;
  bool compressing = false;
  int32_t level = 0;
  Span from, to;
  int64_t done = -1;
  napi_ref held[3] = {};
  napi_async_work work = nullptr;
};

void Execute(napi_env, void* data) {
  Job* job = static_cast<Job*>(data);
  if (job->method == kZstd) job->done = RunZstd(job->compressing, job->level, job->from, job->to);
  if (job->method == kLz4) job->done = RunLz4(job->compressing, job->from, job->to);
}

void Complete(napi_env env, napi_status, void* data) {
  Job* job = static_cast<Job*>(data);
  napi_handle_scope scope;
  napi_open_handle_scope(env, &scope);
  napi_value callback, global;
  napi_get_reference_value(env, job->held[2], &callback);
  napi_get_global(env, &global);
  napi_value done = Number(env, job->done);
  for (napi_ref ref : job->held) napi_delete_reference(env, ref);
  napi_delete_async_work(env, job->work);
  delete job;
  napi_call_function(env, global, callback, 1, &done, nullptr);
  napi_close_handle_scope(env, scope);
}

// codecHas(method) -> whether its library is there
napi_value CodecHas(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const int32_t method = Int(env, args[0]);
  napi_value out;
  napi_get_boolean(env, (method == kZstd && ZstdLibrary().whole) || (method == kLz4 && Lz4Library().whole), &out);
  return out;
}

// codecRunLater(method, compressing, level, from bytes, to bytes, callback(length or -1)): both are kept until then
napi_value CodecRunLater(napi_env env, napi_callback_info info) {
  Args<6> args(env, info);
  Job* job = new Job;
  job->method = Int(env, args[0]);
  napi_get_value_bool(env, args[1], &job->compressing);
  job->level = Int(env, args[2]);
  job->from = Bytes(env, args[3]);
  job->to = Bytes(env, args[4]);
  for (size_t i = 0; i < 3; i++) napi_create_reference(env, args[3 + i], 1, &job->held[i]);
  napi_value name;
  napi_create_string_utf8(env, "rawstor codec", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, nullptr, name, Execute, Complete, job, &job->work);
  napi_queue_async_work(env, job->work);
  napi_value nothing;
  napi_get_undefined(env, &nothing);
  return nothing;
}

}  // namespace

void RegisterCodec(napi_env env, napi_value exports) {
  Function(env, exports, "codecHas", CodecHas);
  Function(env, exports, "codecRunLater", CodecRunLater);
}

}  // namespace rawstor
