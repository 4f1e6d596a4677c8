// Guards of mappings against SIGBUS: see guard.cc.
#pragma once

#include "napi_util.h"

namespace rawstor {

// Mappings at a time; each device has one a GiB of its guest's memory, and three a queue.
constexpr int kGuardsMax = 4096;

// -> its number, or -ENOSPC. `page_bytes` is the smallest piece that may be mapped anew.
int AddGuard(void* data, size_t length, size_t page_bytes);
// Before the memory is unmapped; -1: none.
void RemoveGuard(int guard);

}  // namespace rawstor
