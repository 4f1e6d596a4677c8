// A descriptor in Node's own event loop: calls a function when it is readable.
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>
#include <uv.h>

#include "napi_util.h"

namespace rawstor {
namespace {

// Whoever else has the descriptor can make it one that waits, and take a count away at any time.
bool IsReady(int fd, short events) {
  pollfd ready = {fd, events, 0};
  return poll(&ready, 1, 0) == 1;
}

ssize_t ReadCount(int fd, uint64_t* count) {
  iovec into = {count, sizeof(*count)};
  ssize_t result = preadv2(fd, &into, 1, -1, RWF_NOWAIT);
  if (result >= 0 || (errno != EOPNOTSUPP && errno != ESPIPE && errno != ENOSYS)) return result;
  if (IsReady(fd, POLLIN)) return read(fd, count, sizeof(*count));
  errno = EAGAIN;
  return -1;
}

struct Watch {
  uv_poll_t poll;
  napi_env env;
  napi_async_context context = nullptr;
  napi_ref callback = nullptr;
  napi_async_cleanup_hook_handle hook = nullptr;
  int fd;
  bool drain;
  bool closing = false;
  bool exiting = false;
  // The libuv handle and the external of JavaScript.
  int users = 2;
};

void Drop(Watch* watch) {
  if (--watch->users == 0) delete watch;
}

void OnClosed(uv_handle_t* handle) {
  Watch* watch = static_cast<Watch*>(handle->data);
  if (watch->exiting) napi_remove_async_cleanup_hook(watch->hook);
  Drop(watch);
}

void Close(Watch* watch) {
  if (watch->closing) return;
  watch->closing = true;
  napi_delete_reference(watch->env, watch->callback);
  napi_async_destroy(watch->env, watch->context);
  if (!watch->exiting) napi_remove_async_cleanup_hook(watch->hook);
  uv_close(reinterpret_cast<uv_handle_t*>(&watch->poll), OnClosed);
}

// A handle left open aborts Node when a worker or the process ends.
void OnExit(napi_async_cleanup_hook_handle, void* data) {
  Watch* watch = static_cast<Watch*>(data);
  watch->exiting = true;
  Close(watch);
}

void OnReady(uv_poll_t* poll, int, int) {
  Watch* watch = static_cast<Watch*>(poll->data);
  if (watch->closing) return;
  if (watch->drain) {
    uint64_t count;
    if (ReadCount(watch->fd, &count) < 0) {
      // Somebody was faster; the callback is harmless.
    }
  }
  napi_env env = watch->env;
  napi_handle_scope scope;
  napi_open_handle_scope(env, &scope);
  napi_value callback, self;
  napi_get_reference_value(env, watch->callback, &callback);
  napi_get_global(env, &self);
  if (napi_make_callback(env, watch->context, self, callback, 0, nullptr, nullptr) == napi_pending_exception) {
    napi_value error;
    napi_get_and_clear_last_exception(env, &error);
    napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

Watch* Of(napi_env env, napi_value value) {
  void* data = nullptr;
  if (napi_get_value_external(env, value, &data) != napi_ok) return nullptr;
  return static_cast<Watch*>(data);
}

// watchCreate(fd, drain, callback) -> handle | -errno. `drain` reads 8 bytes first: an eventfd.
napi_value WatchCreate(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  Watch* watch = new Watch();
  watch->env = env;
  watch->fd = Int(env, args[0]);
  napi_get_value_bool(env, args[1], &watch->drain);
  int result = uv_poll_init(loop, &watch->poll, watch->fd);
  if (result != 0) {
    delete watch;
    return Number(env, result);
  }
  watch->poll.data = watch;
  napi_create_reference(env, args[2], 1, &watch->callback);
  napi_value name = String(env, "rawstor.watch");
  napi_async_init(env, nullptr, name, &watch->context);
  napi_add_async_cleanup_hook(env, OnExit, watch, &watch->hook);
  uv_poll_start(&watch->poll, UV_READABLE, OnReady);
  napi_value out;
  napi_create_external(
      env, watch, [](napi_env, void* data, void*) { Drop(static_cast<Watch*>(data)); }, nullptr, &out);
  return out;
}

// watchClose(handle)
napi_value WatchClose(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  Watch* watch = Of(env, args[0]);
  if (watch != nullptr) Close(watch);
  return nullptr;
}

// watchRef(handle, keepsAlive)
napi_value WatchRef(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  Watch* watch = Of(env, args[0]);
  if (watch == nullptr || watch->closing) return nullptr;
  bool alive = true;
  napi_get_value_bool(env, args[1], &alive);
  uv_handle_t* handle = reinterpret_cast<uv_handle_t*>(&watch->poll);
  if (alive) {
    uv_ref(handle);
  } else {
    uv_unref(handle);
  }
  return nullptr;
}

// watchPause(handle, paused)
napi_value WatchPause(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  Watch* watch = Of(env, args[0]);
  if (watch == nullptr || watch->closing) return nullptr;
  bool paused = true;
  napi_get_value_bool(env, args[1], &paused);
  if (paused) {
    uv_poll_stop(&watch->poll);
  } else {
    uv_poll_start(&watch->poll, UV_READABLE, OnReady);
  }
  return nullptr;
}

// watchEnd(handle): until it is paused or not, only the other side's end is told of.
napi_value WatchEnd(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  Watch* watch = Of(env, args[0]);
  if (watch == nullptr || watch->closing) return nullptr;
  uv_poll_start(&watch->poll, UV_DISCONNECT, OnReady);
  return nullptr;
}

// eventfdCreate() -> fd | -errno, non-blocking
napi_value EventfdCreate(napi_env env, napi_callback_info) {
  return Outcome(env, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

// eventfdRead(fd) -> count | -errno
napi_value EventfdRead(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  uint64_t count = 0;
  ssize_t result = ReadCount(Int(env, args[0]), &count);
  return result < 0 ? Outcome(env, result) : Number(env, static_cast<int64_t>(count));
}

}  // namespace

void RegisterWatch(napi_env env, napi_value exports) {
  Function(env, exports, "watchCreate", WatchCreate);
  Function(env, exports, "watchClose", WatchClose);
  Function(env, exports, "watchRef", WatchRef);
  Function(env, exports, "watchPause", WatchPause);
  Function(env, exports, "watchEnd", WatchEnd);
  Function(env, exports, "eventfdCreate", EventfdCreate);
  Function(env, exports, "eventfdRead", EventfdRead);
}

}  // namespace rawstor
