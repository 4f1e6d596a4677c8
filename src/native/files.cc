// File operations that Node lacks, and positioned writes in batches.
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "napi_util.h"

namespace rawstor {
namespace {

constexpr int kGatherMax = 1024;

struct Row {
  double fd;
  double address;
  double length;
  double offset;
};

iovec Piece(const Row& row) {
  return {reinterpret_cast<void*>(static_cast<uintptr_t>(row.address)), static_cast<size_t>(row.length)};
}

// Bytes written or -errno; a partial success with an error after it is an error.
int64_t WriteOne(const Row& row) {
  const int fd = static_cast<int>(row.fd);
  const iovec piece = Piece(row);
  const uint8_t* data = static_cast<const uint8_t*>(piece.iov_base);
  size_t done = 0;
  while (done < piece.iov_len) {
    ssize_t result = pwrite(fd, data + done, piece.iov_len - done, static_cast<int64_t>(row.offset) + done);
    if (result < 0 && errno == EINTR) continue;
    if (result < 0) return -errno;
    if (result == 0) return -EIO;
    done += static_cast<size_t>(result);
  }
  return static_cast<int64_t>(done);
}

int64_t WriteGather(const Row* rows, size_t count) {
  const int fd = static_cast<int>(rows[0].fd);
  int64_t offset = static_cast<int64_t>(rows[0].offset);
  int64_t total = 0;
  size_t next = 0;     // first row not yet whole
  size_t partial = 0;  // bytes of it that are written
  while (next < count) {
    iovec pieces[kGatherMax];
    int used = 1;
    pieces[0] = Piece(rows[next]);
    for (size_t i = next + 1; i < count && used < kGatherMax; i++) pieces[used++] = Piece(rows[i]);
    pieces[0].iov_base = static_cast<uint8_t*>(pieces[0].iov_base) + partial;
    pieces[0].iov_len -= partial;
    ssize_t result = pwritev(fd, pieces, used, offset);
    if (result < 0 && errno == EINTR) continue;
    if (result < 0) return -errno;
    bool nothing_left = true;
    for (int i = 0; i < used; i++) nothing_left = nothing_left && pieces[i].iov_len == 0;
    if (result == 0 && !nothing_left) return -EIO;
    offset += result;
    total += result;
    size_t left = static_cast<size_t>(result) + partial;
    while (next < count && left >= static_cast<size_t>(rows[next].length)) {
      left -= static_cast<size_t>(rows[next].length);
      next++;
    }
    partial = left;
  }
  return total;
}

// pwriteBatch(rows: Float64Array, count): rows of (fd, address, length, offset); offset -1 goes on where the row
// before ends and makes one gather with it. The result (bytes or -errno) replaces `fd` in the first row of each.
napi_value PwriteBatch(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  Span span = Bytes(env, args[0]);
  Row* rows = reinterpret_cast<Row*>(span.data);
  size_t count = Uint(env, args[1]);
  if (count > span.length / sizeof(Row)) count = span.length / sizeof(Row);
  for (size_t i = 0; i < count;) {
    size_t pieces = 1;
    while (i + pieces < count && rows[i + pieces].offset < 0) pieces++;
    int64_t result = pieces == 1 ? WriteOne(rows[i]) : WriteGather(rows + i, pieces);
    rows[i].fd = static_cast<double>(result);
    i += pieces;
  }
  return nullptr;
}

// fallocate(fd, mode, offset, bytes) -> 0 | -errno
napi_value Fallocate(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  int result;
  do {
    result = fallocate(Int(env, args[0]), Int(env, args[1]), Long(env, args[2]), Long(env, args[3]));
  } while (result < 0 && errno == EINTR);
  return Outcome(env, result);
}

// seek(fd, offset, whence) -> offset | -errno; whence SEEK_DATA or SEEK_HOLE
napi_value Seek(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  return Outcome(env, lseek(Int(env, args[0]), Long(env, args[1]), Int(env, args[2])));
}

// reflink(toFd, fromFd) -> 0 | -errno: the whole file shares its extents
napi_value Reflink(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  return Outcome(env, ioctl(Int(env, args[0]), FICLONE, Int(env, args[1])));
}

// syncFileRange(fd, offset, bytes, flags) -> 0 | -errno
napi_value SyncFileRange(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  return Outcome(env, sync_file_range(Int(env, args[0]), Long(env, args[1]), Long(env, args[2]), Uint(env, args[3])));
}

// fdatasync(fd) -> 0 | -errno
napi_value Fdatasync(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  return Outcome(env, fdatasync(Int(env, args[0])));
}

// lockExclusive(fd) -> 0 | -errno. An open-file-description lock: it goes away with the descriptor, so with the
// process, however it ends.
napi_value LockExclusive(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  struct flock lock;
  memset(&lock, 0, sizeof(lock));
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return Outcome(env, fcntl(Int(env, args[0]), F_OFD_SETLK, &lock));
}

// closeFd(fd) -> 0 | -errno
napi_value CloseFd(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  return Outcome(env, close(Int(env, args[0])));
}

}  // namespace

void RegisterFiles(napi_env env, napi_value exports) {
  Function(env, exports, "pwriteBatch", PwriteBatch);
  Function(env, exports, "fallocate", Fallocate);
  Function(env, exports, "seek", Seek);
  Function(env, exports, "reflink", Reflink);
  Function(env, exports, "syncFileRange", SyncFileRange);
  Function(env, exports, "fdatasync", Fdatasync);
  Function(env, exports, "lockExclusive", LockExclusive);
  Function(env, exports, "closeFd", CloseFd);
}

}  // namespace rawstor
