// mount(2) and umount2(2).
#include <string>
#include <sys/mount.h>

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

}  // namespace

void RegisterMounts(napi_env env, napi_value exports) {
  Function(env, exports, "mountFileSystem", MountFileSystem);
  Function(env, exports, "unmountFileSystem", UnmountFileSystem);
}

}  // namespace rawstor
