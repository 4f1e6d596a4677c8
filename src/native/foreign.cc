// Descriptors that another process has passed. Closing one, or asking what it is, can take as long as that process likes: its file system
// may be its own (FUSE), a socket may linger. Threads of their own do it, which may stay there; libuv's would all be used up soon.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <vector>

#include "napi_util.h"

namespace rawstor {
namespace {

struct Job {
  std::vector<int> fds;
  bool closes = false;
  // What was found: the file system's number or -errno, then of the file.
  int64_t found[3] = {};
  napi_threadsafe_function call = nullptr;
};

void LookAt(int fd, int64_t* found) {
  struct statfs system;
  struct stat file;
  if (fstatfs(fd, &system) < 0 || fstat(fd, &file) < 0) {
    found[0] = -errno;
    return;
  }
  found[0] = static_cast<int64_t>(static_cast<uint32_t>(system.f_type));
  found[1] = file.st_size;
  found[2] = file.st_mode & S_IFMT;
}

void Run(Job* job) {
  for (int fd : job->fds) {
    if (job->closes) {
      close(fd);
    } else {
      LookAt(fd, job->found);
    }
  }
  napi_threadsafe_function call = job->call;
  // Refused once the engine ends: then nobody waits any more.
  if (napi_call_threadsafe_function(call, job, napi_tsfn_nonblocking) != napi_ok) delete job;
  napi_release_threadsafe_function(call, napi_tsfn_release);
}

void Tell(napi_env env, napi_value callback, void*, void* data) {
  Job* job = static_cast<Job*>(data);
  if (env != nullptr) {
    napi_value global;
    napi_get_global(env, &global);
    napi_value found[3];
    for (size_t i = 0; i < 3; i++) found[i] = Number(env, job->found[i]);
    napi_call_function(env, global, callback, 3, found, nullptr);
  }
  delete job;
}

bool Start(napi_env env, Job* job, napi_value callback) {
  napi_value name = String(env, "rawstor.foreign");
  if (napi_create_threadsafe_function(env, callback, nullptr, name, 0, 1, nullptr, nullptr, nullptr, Tell,
                                      &job->call) != napi_ok) {
    return false;
  }
  // A thread that does not come back keeps no process alive.
  napi_unref_threadsafe_function(env, job->call);
  pthread_t thread;
  const auto run = [](void* data) -> void* {
    Run(static_cast<Job*>(data));
    return nullptr;
  };
  const int result = pthread_create(&thread, nullptr, run, job);
  if (result == 0) {
    pthread_detach(thread);
    return true;
  }
  napi_release_threadsafe_function(job->call, napi_tsfn_abort);
  return false;
}

// foreignClose(fds: number[], callback()) -> whether it will
napi_value ForeignClose(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  uint32_t count = 0;
  napi_get_array_length(env, args[0], &count);
  Job* job = new Job();
  job->closes = true;
  for (uint32_t i = 0; i < count; i++) {
    napi_value element;
    napi_get_element(env, args[0], i, &element);
    job->fds.push_back(Int(env, element));
  }
  const bool started = Start(env, job, args[1]);
  if (!started) delete job;
  napi_value out;
  napi_get_boolean(env, started, &out);
  return out;
}

// foreignFile(fd, callback(file system's number or -errno, bytes, kind)) -> whether it will
napi_value ForeignFile(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  Job* job = new Job();
  job->fds.push_back(Int(env, args[0]));
  const bool started = Start(env, job, args[1]);
  if (!started) delete job;
  napi_value out;
  napi_get_boolean(env, started, &out);
  return out;
}

// The kernel's own way to count an eventfd up: at the end of an operation, here of one that reads nothing. write() waits where others
// have filled the count up and made the descriptor one that waits, and no look before it is late enough.
class Signaller {
 public:
  Signaller() {
    nothing_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
    usable_ = nothing_ >= 0 && syscall(SYS_io_setup, kRow, &context_) == 0;
  }

  ~Signaller() {
    if (usable_) syscall(SYS_io_destroy, context_);
    if (nothing_ >= 0) close(nothing_);
  }

  int64_t Signal(int fd) {
    if (!usable_) return SignalLooking(fd);
    uint8_t byte;
    iocb operation = {};
    operation.aio_lio_opcode = IOCB_CMD_PREAD;
    operation.aio_fildes = static_cast<uint32_t>(nothing_);
    operation.aio_buf = reinterpret_cast<uintptr_t>(&byte);
    operation.aio_nbytes = sizeof(byte);
    operation.aio_flags = IOCB_FLAG_RESFD;
    operation.aio_resfd = static_cast<uint32_t>(fd);
    iocb* list[] = {&operation};
    if (done_ == kRow) Reap();
    if (syscall(SYS_io_submit, context_, 1, list) != 1) return -errno;
    done_++;
    return 0;
  }

 private:
  static constexpr int kRow = 64;

  void Reap() {
    io_event events[kRow];
    timespec at_once = {};
    syscall(SYS_io_getevents, context_, 0, kRow, events, &at_once);
    done_ = 0;
  }

  // Where there is no such way: what is late is a moment.
  static int64_t SignalLooking(int fd) {
    pollfd ready = {fd, POLLOUT, 0};
    if (poll(&ready, 1, 0) != 1) return -EAGAIN;
    const uint64_t one = 1;
    return write(fd, &one, sizeof(one)) < 0 ? -errno : 0;
  }

  aio_context_t context_ = 0;
  int nothing_ = -1;
  int done_ = 0;
  bool usable_ = false;
};

// eventfdSignal(fd) -> 0 | -errno; never waits
napi_value EventfdSignal(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  thread_local Signaller signaller;
  return Number(env, signaller.Signal(Int(env, args[0])));
}

}  // namespace

void RegisterForeign(napi_env env, napi_value exports) {
  Function(env, exports, "foreignClose", ForeignClose);
  Function(env, exports, "foreignFile", ForeignFile);
  Function(env, exports, "eventfdSignal", EventfdSignal);
}

}  // namespace rawstor
