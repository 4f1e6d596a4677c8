// mount(2), umount2(2), and which mount a path is on.
#include <fcntl.h>
#include <string.h>
#include <string>
#include <sys/mount.h>
#include <sys/stat.h>

#include "napi_util.h"

namespace rawstor {
namespace {

// mountFileSystem(source, target, type, flags, data) -> 0 | -errno
napi_value MountFileSystem(napi_env env, napi_callback_info info) {
  Args<5> args(env, info);
  const std::string source = Text(env, args[0]);
  const std::string target = Text(env, args[1]);
  const std::string type = Text(env, args[2]);
  const std::string data = Text(env, args[4]);
  return Outcome(env, mount(source.c_str(), target.c_str(), type.c_str(),
                            static_cast<unsigned long>(Long(env, args[3])), data.c_str()));
}

struct Unmount {
  std::string target;
  int flags = 0;
  int result = 0;
  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
};

// unmountFileSystem(target, flags) -> Promise<0 | -errno>. On a thread of its own: the kernel may ask the file system
// for something before it lets go, and that is served by the caller's thread.
napi_value UnmountFileSystem(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  Unmount* job = new Unmount();
  job->target = Text(env, args[0]);
  job->flags = Int(env, args[1]);
  napi_value promise;
  napi_create_promise(env, &job->deferred, &promise);
  napi_create_async_work(
      env, nullptr, String(env, "rawstor.unmount"),
      [](napi_env, void* data) {
        Unmount* job = static_cast<Unmount*>(data);
        job->result = umount2(job->target.c_str(), job->flags) < 0 ? -errno : 0;
      },
      [](napi_env env, napi_status, void* data) {
        Unmount* job = static_cast<Unmount*>(data);
        napi_resolve_deferred(env, job->deferred, Number(env, job->result));
        napi_delete_async_work(env, job->work);
        delete job;
      },
      job, &job->work);
  napi_queue_async_work(env, job->work);
  return promise;
}

// Of linux/stat.h; older ones do not have the second.
constexpr unsigned kMountId = 0x1000;
constexpr unsigned kMountIdUnique = 0x4000;

// mountId(path, unique) -> number | -errno; -ENOSYS where the kernel does not tell. A unique one is never used again while the kernel lives.
napi_value MountId(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  bool unique = false;
  napi_get_value_bool(env, args[1], &unique);
  const unsigned wanted = unique ? kMountIdUnique : kMountId;
  // glibc's may be older than the kernel and end before the field: then it is in the spare room at this place.
  struct statx found = {};
  if (statx(AT_FDCWD, Text(env, args[0]).c_str(), 0, wanted, &found) < 0) return Number(env, -errno);
  if ((found.stx_mask & wanted) == 0) return Number(env, -ENOSYS);
  constexpr size_t kMountIdAt = 0x90;
  uint64_t id;
  memcpy(&id, reinterpret_cast<const char*>(&found) + kMountIdAt, sizeof(id));
  return Number(env, static_cast<int64_t>(id));
}

// fileHandle(path) -> hexadecimal | -errno. By it the file system knows a file: also after a reboot, and no copy has the same.
napi_value FileHandle(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  alignas(file_handle) unsigned char room[sizeof(file_handle) + MAX_HANDLE_SZ] = {};
  file_handle* handle = reinterpret_cast<file_handle*>(room);
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount_id;
  if (name_to_handle_at(AT_FDCWD, Text(env, args[0]).c_str(), handle, &mount_id, AT_SYMLINK_FOLLOW) < 0) return Number(env, -errno);
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text = std::to_string(handle->handle_type) + ":";
  for (unsigned i = 0; i < handle->handle_bytes; i++) {
    text += kDigits[handle->f_handle[i] >> 4];
    text += kDigits[handle->f_handle[i] & 15];
  }
  return String(env, text);
}

}  // namespace

void RegisterMounts(napi_env env, napi_value exports) {
  Function(env, exports, "mountFileSystem", MountFileSystem);
  Function(env, exports, "unmountFileSystem", UnmountFileSystem);
  Function(env, exports, "mountId", MountId);
  Function(env, exports, "fileHandle", FileHandle);
}

}  // namespace rawstor
