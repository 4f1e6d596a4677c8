// Memory that another process shares and may shrink: touching what is no more there would end this process by SIGBUS.
// In a guarded mapping it finds zeros instead, and the mapping is marked as torn.
#include "guard.h"

#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

namespace rawstor {
namespace {

struct Guard {
  std::atomic<bool> taken{false};
  // Both 0 where there is none.
  std::atomic<uintptr_t> start{0};
  std::atomic<uintptr_t> end{0};
  std::atomic<uintptr_t> page_bytes{0};
};

Guard guards[kGuardsMax];
// [0] counts pages of all; [1 + i] is 1 where the mapping of guard i is torn.
int32_t torn[1 + kGuardsMax];
struct sigaction before;
std::atomic<bool> installed{false};

void OnBusError(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  const uintptr_t at = reinterpret_cast<uintptr_t>(info->si_addr);
  for (int i = 0; i < kGuardsMax; i++) {
    const uintptr_t start = guards[i].start.load();
    const uintptr_t end = guards[i].end.load();
    if (at < start || at >= end) continue;
    const uintptr_t page_bytes = guards[i].page_bytes.load();
    // Counted from where the mapping begins, which need not be at a multiple of what the file calls its pages, and not
    // beyond its end: what lies around it is somebody else's.
    const uintptr_t from = start + (at - start) / page_bytes * page_bytes;
    const size_t length = std::min<uintptr_t>(page_bytes, end - from);
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    void* page = reinterpret_cast<void*>(from);
    if (mmap(page, length, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) break;
    __atomic_store_n(&torn[1 + i], 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&torn[0], 1, __ATOMIC_SEQ_CST);
    errno = error;
    return;
  }
  errno = error;
  if ((before.sa_flags & SA_SIGINFO) != 0 && before.sa_sigaction != nullptr) {
    before.sa_sigaction(signal, info, context);
    return;
  }
  // As without this handler: the access is made again, and ends the process.
  sigaction(SIGBUS, &before, nullptr);
}

void Install() {
  if (installed.exchange(true)) return;
  struct sigaction action = {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &before);
}

// tornMemory() -> ArrayBuffer of int32: see `torn`
napi_value TornMemory(napi_env env, napi_callback_info) {
  napi_value out = nullptr;
  napi_create_external_arraybuffer(env, torn, sizeof torn, nullptr, nullptr, &out);
  return out;
}

}  // namespace

int AddGuard(void* data, size_t length, size_t page_bytes) {
  Install();
  for (int i = 0; i < kGuardsMax; i++) {
    if (guards[i].taken.exchange(true)) continue;
    __atomic_store_n(&torn[1 + i], 0, __ATOMIC_SEQ_CST);
    guards[i].page_bytes.store(page_bytes);
    guards[i].start.store(reinterpret_cast<uintptr_t>(data));
    guards[i].end.store(reinterpret_cast<uintptr_t>(data) + length);
    return i;
  }
  return -ENOSPC;
}

void RemoveGuard(int guard) {
  if (guard < 0) return;
  guards[guard].end.store(0);
  guards[guard].start.store(0);
  guards[guard].taken.store(false);
}

void RegisterGuard(napi_env env, napi_value exports) { Function(env, exports, "tornMemory", TornMemory); }

}  // namespace rawstor
