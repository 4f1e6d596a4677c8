// io_uring by raw system calls: rings mapped as ArrayBuffers, filled and read by TypeScript.
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "napi_util.h"

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

namespace rawstor {
namespace {

int Setup(unsigned entries, io_uring_params* params) {
  return static_cast<int>(syscall(__NR_io_uring_setup, entries, params));
}

int Register(int fd, unsigned opcode, void* arg, unsigned count) {
  return static_cast<int>(syscall(__NR_io_uring_register, fd, opcode, arg, count));
}

struct Ring {
  int fd;
  const uint32_t* sq_flags;
  const uint32_t* cq_head;
  const uint32_t* cq_tail;
};

// Ends what is in flight and waits for it, so that the kernel writes to no buffer afterwards.
void CancelAll(int fd) {
  io_uring_sync_cancel_reg cancel;
  memset(&cancel, 0, sizeof(cancel));
  cancel.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
  cancel.fd = -1;
  cancel.timeout.tv_sec = 1;
  cancel.timeout.tv_nsec = 0;
  Register(fd, IORING_REGISTER_SYNC_CANCEL, &cancel, 1);
}

void CleanUp(void* data) {
  Ring* ring = static_cast<Ring*>(data);
  if (ring->fd >= 0) {
    CancelAll(ring->fd);
    close(ring->fd);
  }
  delete ring;
}

// ringCreate(entries, cqEntries) -> description | -errno
napi_value RingCreate(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const unsigned entries = Uint(env, args[0]);
  const unsigned cq_entries = Uint(env, args[1]);
  const unsigned wanted[] = {
      IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
      IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
      0,
  };
  io_uring_params params;
  int fd = -1;
  for (unsigned flags : wanted) {
    memset(&params, 0, sizeof(params));
    params.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    params.cq_entries = cq_entries;
    fd = Setup(entries, &params);
    if (fd >= 0 || errno != EINVAL) break;
  }
  if (fd < 0) return Outcome(env, fd);
  const unsigned needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE;
  if ((params.features & needed) != needed) {
    close(fd);
    return Number(env, -EOPNOTSUPP);
  }

  const size_t sq_size = params.sq_off.array + params.sq_entries * sizeof(uint32_t);
  const size_t cq_size = params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe);
  const size_t ring_size = sq_size > cq_size ? sq_size : cq_size;
  const size_t sqes_size = params.sq_entries * sizeof(io_uring_sqe);
  const int protection = PROT_READ | PROT_WRITE;
  const int flags = MAP_SHARED | MAP_POPULATE;
  void* rings = mmap(nullptr, ring_size, protection, flags, fd, IORING_OFF_SQ_RING);
  void* sqes = mmap(nullptr, sqes_size, protection, flags, fd, IORING_OFF_SQES);
  if (rings == MAP_FAILED || sqes == MAP_FAILED) {
    int error = errno;
    if (rings != MAP_FAILED) munmap(rings, ring_size);
    if (sqes != MAP_FAILED) munmap(sqes, sqes_size);
    close(fd);
    return Number(env, -error);
  }
  // Entry i of the indirection array always names submission i.
  uint32_t* array = reinterpret_cast<uint32_t*>(static_cast<uint8_t*>(rings) + params.sq_off.array);
  for (unsigned i = 0; i < params.sq_entries; i++) array[i] = i;

  // A registered ring descriptor saves its look-up at each enter.
  io_uring_rsrc_update update;
  memset(&update, 0, sizeof(update));
  update.offset = static_cast<uint32_t>(-1);
  update.data = static_cast<uint64_t>(fd);
  const bool registered = Register(fd, IORING_REGISTER_RING_FDS, &update, 1) == 1;

  const uint8_t* base = static_cast<const uint8_t*>(rings);
  Ring* ring = new Ring{fd, reinterpret_cast<const uint32_t*>(base + params.sq_off.flags),
                        reinterpret_cast<const uint32_t*>(base + params.cq_off.head),
                        reinterpret_cast<const uint32_t*>(base + params.cq_off.tail)};
  napi_add_env_cleanup_hook(env, CleanUp, ring);
  napi_value out, handle;
  napi_create_object(env, &out);
  napi_create_external(env, ring, nullptr, nullptr, &handle);
  Set(env, out, "handle", handle);
  Set(env, out, "fd", fd);
  Set(env, out, "enterFd", registered ? static_cast<int64_t>(update.offset) : fd);
  Set(env, out, "enterFlags", registered ? IORING_ENTER_REGISTERED_RING : 0);
  Set(env, out, "setupFlags", params.flags);
  Set(env, out, "features", params.features);
  Set(env, out, "sqEntries", params.sq_entries);
  Set(env, out, "cqEntries", params.cq_entries);
  Set(env, out, "rings", MappedArrayBuffer(env, rings, ring_size));
  Set(env, out, "sqes", MappedArrayBuffer(env, sqes, sqes_size));
  Set(env, out, "sqHeadAt", params.sq_off.head);
  Set(env, out, "sqTailAt", params.sq_off.tail);
  Set(env, out, "sqFlagsAt", params.sq_off.flags);
  Set(env, out, "cqHeadAt", params.cq_off.head);
  Set(env, out, "cqTailAt", params.cq_off.tail);
  Set(env, out, "cqFlagsAt", params.cq_off.flags);
  Set(env, out, "cqOverflowAt", params.cq_off.overflow);
  Set(env, out, "cqesAt", params.cq_off.cqes);
  return out;
}

// ringClose(handle, rings, sqes)
napi_value RingClose(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  void* data = nullptr;
  if (napi_get_value_external(env, args[0], &data) != napi_ok) return nullptr;
  napi_remove_env_cleanup_hook(env, CleanUp, data);
  UnmapArrayBuffer(env, args[1]);
  UnmapArrayBuffer(env, args[2]);
  CleanUp(data);
  return nullptr;
}

// ringEnter(enterFd, toSubmit, minComplete, flags) -> submitted | -errno
napi_value RingEnter(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  int64_t result = syscall(__NR_io_uring_enter, Int(env, args[0]), Uint(env, args[1]), Uint(env, args[2]),
                           Uint(env, args[3]), nullptr, 0);
  return Outcome(env, result);
}

bool Reapable(const Ring* ring) {
  const uint32_t tail = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);
  return tail != __atomic_load_n(ring->cq_head, __ATOMIC_RELAXED) ||
         (__atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

// The other hardware thread of the core, which may be the one we wait for, gets more of it meanwhile.
inline void Relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// ringPoll(handle, maxNs) -> whether something can be reaped; waits for it on the CPU, no longer than maxNs
napi_value RingPoll(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  void* data = nullptr;
  if (napi_get_value_external(env, args[0], &data) != napi_ok) return nullptr;
  const Ring* ring = static_cast<const Ring*>(data);
  const int64_t end = NowNs() + Long(env, args[1]);
  bool reapable = Reapable(ring);
  while (!reapable && NowNs() < end) {
    for (int i = 0; i < 8 && !reapable; i++) {
      Relax();
      reapable = Reapable(ring);
    }
  }
  napi_value out;
  napi_get_boolean(env, reapable, &out);
  return out;
}

// ringRegisterEventfd(fd, eventfd) -> 0 | -errno
napi_value RingRegisterEventfd(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  int eventfd = Int(env, args[1]);
  return Outcome(env, Register(Int(env, args[0]), IORING_REGISTER_EVENTFD, &eventfd, 1));
}

// ringSupports(fd, opcode) -> boolean
napi_value RingSupports(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  const uint32_t opcode = Uint(env, args[1]);
  alignas(io_uring_probe) uint8_t memory[sizeof(io_uring_probe) + 256 * sizeof(io_uring_probe_op)] = {};
  io_uring_probe* probe = reinterpret_cast<io_uring_probe*>(memory);
  bool supported = Register(Int(env, args[0]), IORING_REGISTER_PROBE, probe, 256) == 0 && opcode < 256 &&
                   opcode <= probe->last_op && (probe->ops[opcode].flags & IO_URING_OP_SUPPORTED) != 0;
  napi_value out;
  napi_get_boolean(env, supported, &out);
  return out;
}

}  // namespace

void RegisterRing(napi_env env, napi_value exports) {
  Function(env, exports, "ringCreate", RingCreate);
  Function(env, exports, "ringClose", RingClose);
  Function(env, exports, "ringEnter", RingEnter);
  Function(env, exports, "ringPoll", RingPoll);
  Function(env, exports, "ringRegisterEventfd", RingRegisterEventfd);
  Function(env, exports, "ringSupports", RingSupports);
}

}  // namespace rawstor
