// AES-256-XTS over whole sectors of 512 bytes, many a call, by the OpenSSL that Node has in it. The sector's number is the tweak,
// little endian. A sector of zeros is not deciphered: it was never written, or discarded, and no ciphertext is all zeros (one in
// 2^4096 would be).
#include <openssl/evp.h>
#include <string.h>

#include "napi_util.h"

namespace rawstor {
namespace {

constexpr size_t kSector = 512, kKey = 64;

struct Xts {
  EVP_CIPHER_CTX* seal = nullptr;
  EVP_CIPHER_CTX* open = nullptr;
  ~Xts() {
    // Both are wiped by that.
    EVP_CIPHER_CTX_free(seal);
    EVP_CIPHER_CTX_free(open);
  }
};

bool IsZero(const uint8_t* data) {
  // Each byte is the one before it, and the first is zero.
  return data[0] == 0 && memcmp(data, data + 1, kSector - 1) == 0;
}

bool Run(EVP_CIPHER_CTX* context, bool sealing, const uint8_t* from, uint8_t* to, size_t sectors, uint64_t first) {
  for (size_t i = 0; i < sectors; i++, from += kSector, to += kSector) {
    if (!sealing && IsZero(from)) {
      if (from != to) memset(to, 0, kSector);
      continue;
    }
    uint8_t tweak[16] = {};
    for (int byte = 0; byte < 8; byte++) tweak[byte] = static_cast<uint8_t>((first + i) >> (8 * byte));
    int done = 0;
    if (EVP_CipherInit_ex(context, nullptr, nullptr, nullptr, tweak, -1) != 1) return false;
    if (EVP_CipherUpdate(context, to, &done, from, kSector) != 1 || done != static_cast<int>(kSector)) return false;
  }
  return true;
}

EVP_CIPHER_CTX* Context(const uint8_t* key, bool sealing) {
  EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
  if (context == nullptr) return nullptr;
  if (EVP_CipherInit_ex(context, EVP_aes_256_xts(), nullptr, key, nullptr, sealing ? 1 : 0) == 1) return context;
  EVP_CIPHER_CTX_free(context);
  return nullptr;
}

Xts* From(napi_env env, napi_value value) {
  void* data = nullptr;
  napi_get_value_external(env, value, &data);
  return static_cast<Xts*>(data);
}

// xtsCreate(key of 64 bytes) -> handle, or -EINVAL: OpenSSL takes no key whose halves are the same
napi_value XtsCreate(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  const Span key = Bytes(env, args[0]);
  if (key.length != kKey) return Number(env, -EINVAL);
  Xts* made = new Xts;
  made->seal = Context(key.data, true);
  made->open = Context(key.data, false);
  if (made->seal == nullptr || made->open == nullptr) {
    delete made;
    return Number(env, -EINVAL);
  }
  napi_value out;
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<Xts*>(data); };
  napi_create_external(env, made, finalize, nullptr, &out);
  return out;
}

struct Range {
  const uint8_t* from = nullptr;
  uint8_t* to = nullptr;
  size_t sectors = 0;
  uint64_t first = 0;
};

Range RangeOf(napi_env env, const napi_value* at) {
  Range range;
  range.from = reinterpret_cast<const uint8_t*>(static_cast<uintptr_t>(Long(env, at[0])));
  range.to = reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(Long(env, at[1])));
  range.sectors = static_cast<size_t>(Long(env, at[2]));
  range.first = static_cast<uint64_t>(Long(env, at[3]));
  return range;
}

// xtsRun(handle, sealing, from address, to address, sectors, first sector) -> whether it was done
napi_value XtsRun(napi_env env, napi_callback_info info) {
  Args<6> args(env, info);
  Xts* xts = From(env, args[0]);
  bool sealing = false;
  napi_get_value_bool(env, args[1], &sealing);
  const Range range = RangeOf(env, &args.at[2]);
  napi_value out;
  napi_get_boolean(env, Run(sealing ? xts->seal : xts->open, sealing, range.from, range.to, range.sectors, range.first),
                   &out);
  return out;
}

struct Job {
  EVP_CIPHER_CTX* context = nullptr;
  bool sealing = false, done = false;
  Range range;
  napi_ref callback = nullptr;
  napi_async_work work = nullptr;
};

void Complete(napi_env env, napi_status, void* data) {
  Job* job = static_cast<Job*>(data);
  napi_handle_scope scope;
  napi_open_handle_scope(env, &scope);
  napi_value callback, global, done;
  napi_get_reference_value(env, job->callback, &callback);
  napi_get_global(env, &global);
  napi_get_boolean(env, job->done, &done);
  napi_delete_reference(env, job->callback);
  napi_delete_async_work(env, job->work);
  EVP_CIPHER_CTX_free(job->context);
  delete job;
  napi_call_function(env, global, callback, 1, &done, nullptr);
  napi_close_handle_scope(env, scope);
}

// xtsRunLater(..as xtsRun, callback(done)): on a thread of its own; the memory stays as it is until then
napi_value XtsRunLater(napi_env env, napi_callback_info info) {
  Args<7> args(env, info);
  Xts* xts = From(env, args[0]);
  Job* job = new Job;
  napi_get_value_bool(env, args[1], &job->sealing);
  job->range = RangeOf(env, &args.at[2]);
  // Its own, as contexts are of one thread at a time. Where that fails, it is told as not done.
  job->context = EVP_CIPHER_CTX_new();
  if (job->context != nullptr && EVP_CIPHER_CTX_copy(job->context, job->sealing ? xts->seal : xts->open) != 1) {
    EVP_CIPHER_CTX_free(job->context);
    job->context = nullptr;
  }
  napi_create_reference(env, args[6], 1, &job->callback);
  napi_value name;
  napi_create_string_utf8(env, "rawstor xts", NAPI_AUTO_LENGTH, &name);
  const auto execute = [](napi_env, void* data) {
    Job* one = static_cast<Job*>(data);
    const Range& r = one->range;
    one->done = one->context != nullptr && Run(one->context, one->sealing, r.from, r.to, r.sectors, r.first);
  };
  napi_create_async_work(env, nullptr, name, execute, Complete, job, &job->work);
  napi_queue_async_work(env, job->work);
  napi_value nothing;
  napi_get_undefined(env, &nothing);
  return nothing;
}

}  // namespace

void RegisterXts(napi_env env, napi_value exports) {
  Function(env, exports, "xtsCreate", XtsCreate);
  Function(env, exports, "xtsRun", XtsRun);
  Function(env, exports, "xtsRunLater", XtsRunLater);
}

}  // namespace rawstor
