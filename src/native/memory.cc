// Mapped memory as ArrayBuffers with a known address.
#include <sys/mman.h>
#include <unistd.h>

#include <mutex>
#include <unordered_map>

#include "guard.h"
#include "napi_util.h"

namespace rawstor {
namespace {

struct Mapping {
  void* data;
  size_t length;
  bool mapped;
  int guard = -1;
};

// Of Node 20; newer ones have larger ones, which nobody here asks for.
constexpr uint64_t kArrayBufferMaxBytes = 1ull << 32;

// Workers load the addon too, hence the lock.
std::mutex registry_lock;
std::unordered_map<void*, Mapping*> registry;

void Unmap(Mapping* mapping) {
  if (!mapping->mapped) return;
  mapping->mapped = false;
  {
    std::lock_guard<std::mutex> guard(registry_lock);
    registry.erase(mapping->data);
  }
  RemoveGuard(mapping->guard);
  munmap(mapping->data, mapping->length);
}

void Finalize(napi_env, void*, void* hint) {
  Mapping* mapping = static_cast<Mapping*>(hint);
  Unmap(mapping);
  delete mapping;
}

napi_value Mapped(napi_env env, void* data, size_t length) {
  if (data == MAP_FAILED) return Number(env, -errno);
  napi_value bytes = MappedArrayBuffer(env, data, length);
  // It has thrown.
  if (bytes == nullptr) return nullptr;
  napi_value object;
  napi_create_object(env, &object);
  Set(env, object, "bytes", bytes);
  Set(env, object, "address", static_cast<int64_t>(reinterpret_cast<uintptr_t>(data)));
  return object;
}

// mapAnonymous(bytes) -> { bytes: ArrayBuffer, address } | -errno
napi_value MapAnonymous(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  size_t length = static_cast<size_t>(Long(env, args[0]));
  void* data = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return Mapped(env, data, length);
}

// mapFd(fd, offset, bytes, writable) -> { bytes, address } | -errno
napi_value MapFd(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  bool writable = false;
  napi_get_value_bool(env, args[3], &writable);
  size_t length = static_cast<size_t>(Long(env, args[2]));
  int protection = PROT_READ | (writable ? PROT_WRITE : 0);
  void* data = mmap(nullptr, length, protection, MAP_SHARED, Int(env, args[0]), Long(env, args[1]));
  return Mapped(env, data, length);
}

// mapShared(fd, offset, bytes, pageBytes) -> { bytes, address, guard } | -errno. Guarded: see guard.cc
napi_value MapShared(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  const size_t length = static_cast<size_t>(Long(env, args[2]));
  void* data = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, Int(env, args[0]), Long(env, args[1]));
  if (data == MAP_FAILED) return Number(env, -errno);
  const int guard = AddGuard(data, length, static_cast<size_t>(Long(env, args[3])));
  if (guard < 0) {
    munmap(data, length);
    return Number(env, guard);
  }
  napi_value object = Mapped(env, data, length);
  bool mapped = false;
  {
    std::lock_guard<std::mutex> lock(registry_lock);
    auto found = registry.find(data);
    mapped = object != nullptr && found != registry.end();
    if (mapped) found->second->guard = guard;
  }
  if (!mapped) {
    RemoveGuard(guard);
    return nullptr;
  }
  Set(env, object, "guard", static_cast<int64_t>(guard));
  return object;
}

// unmap(arrayBuffer)
napi_value UnmapCall(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  UnmapArrayBuffer(env, args[0]);
  return nullptr;
}

// adviseHugePages(address, bytes) -> 0 | -errno
napi_value AdviseHugePages(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  void* data = reinterpret_cast<void*>(static_cast<uintptr_t>(Long(env, args[0])));
  return Outcome(env, madvise(data, static_cast<size_t>(Long(env, args[1])), MADV_HUGEPAGE));
}

// memfdCreate(name, bytes) -> fd | -errno
napi_value MemfdCreate(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  int fd = memfd_create(Text(env, args[0]).c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return Outcome(env, fd);
  if (ftruncate(fd, Long(env, args[1])) < 0) {
    int error = errno;
    close(fd);
    return Number(env, -error);
  }
  return Number(env, fd);
}

}  // namespace

napi_value MappedArrayBuffer(napi_env env, void* data, size_t length) {
  // No engine of ours has larger ones; asked for one, it may call Finalize and still fail.
  if (length > kArrayBufferMaxBytes) {
    munmap(data, length);
    napi_throw_range_error(env, "E2BIG", "more memory than an ArrayBuffer may have");
    return nullptr;
  }
  Mapping* mapping = new Mapping{data, length, true};
  {
    std::lock_guard<std::mutex> guard(registry_lock);
    registry[data] = mapping;
  }
  napi_value out = nullptr;
  if (napi_create_external_arraybuffer(env, data, length, Finalize, mapping, &out) != napi_ok) {
    // Whether it was finalized is not told: a mapping that stays is better than one that is given back twice.
    bool pending = false;
    napi_is_exception_pending(env, &pending);
    if (!pending) napi_throw_error(env, nullptr, "cannot make an ArrayBuffer over mapped memory");
    return nullptr;
  }
  return out;
}

void UnmapArrayBuffer(napi_env env, napi_value array_buffer) {
  void* data = nullptr;
  size_t length = 0;
  if (napi_get_arraybuffer_info(env, array_buffer, &data, &length) != napi_ok || data == nullptr) return;
  Mapping* mapping = nullptr;
  {
    std::lock_guard<std::mutex> guard(registry_lock);
    auto found = registry.find(data);
    if (found != registry.end()) mapping = found->second;
  }
  if (mapping == nullptr) return;
  // Detach first: no view may outlive the mapping. Detaching may finalize, which unmaps by itself.
  {
    std::lock_guard<std::mutex> guard(registry_lock);
    registry.erase(data);
    mapping->mapped = false;
  }
  // Finalized, it is deleted.
  const int guard = mapping->guard;
  napi_detach_arraybuffer(env, array_buffer);
  RemoveGuard(guard);
  munmap(data, length);
}

void RegisterMemory(napi_env env, napi_value exports) {
  Function(env, exports, "mapAnonymous", MapAnonymous);
  Function(env, exports, "mapFd", MapFd);
  Function(env, exports, "mapShared", MapShared);
  Function(env, exports, "unmap", UnmapCall);
  Function(env, exports, "adviseHugePages", AdviseHugePages);
  Function(env, exports, "memfdCreate", MemfdCreate);
}

}  // namespace rawstor
