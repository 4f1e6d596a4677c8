// Sockets as plain descriptors, and descriptors passed over them.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "napi_util.h"

namespace rawstor {
namespace {

constexpr int kDescriptorsMax = 253;  // SCM_MAX_FD

struct Name {
  sockaddr_storage storage = {};
  socklen_t length = 0;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

// 0 or -errno. An empty port and a text starting with '/' (or '@', abstract) is a Unix path.
int Encode(const std::string& host, int port, Name* name) {
  memset(&name->storage, 0, sizeof(name->storage));
  if (!host.empty() && (host[0] == '/' || host[0] == '@')) {
    sockaddr_un* un = reinterpret_cast<sockaddr_un*>(&name->storage);
    if (host.size() >= sizeof(un->sun_path)) return -ENAMETOOLONG;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, host.data(), host.size());
    name->length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + host.size() + 1);
    if (host[0] == '@') {
      un->sun_path[0] = '\0';
      name->length--;
    }
    return 0;
  }
  sockaddr_in* in = reinterpret_cast<sockaddr_in*>(&name->storage);
  if (inet_pton(AF_INET, host.c_str(), &in->sin_addr) == 1) {
    in->sin_family = AF_INET;
    in->sin_port = htons(static_cast<uint16_t>(port));
    name->length = sizeof(sockaddr_in);
    return 0;
  }
  sockaddr_in6* in6 = reinterpret_cast<sockaddr_in6*>(&name->storage);
  if (inet_pton(AF_INET6, host.c_str(), &in6->sin6_addr) == 1) {
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(static_cast<uint16_t>(port));
    name->length = sizeof(sockaddr_in6);
    return 0;
  }
  return -EINVAL;
}

std::string Describe(const Name& name) {
  char text[INET6_ADDRSTRLEN] = {};
  const sockaddr* any = reinterpret_cast<const sockaddr*>(&name.storage);
  if (any->sa_family == AF_INET) {
    const sockaddr_in* in = reinterpret_cast<const sockaddr_in*>(any);
    inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
    return std::string("tcp://") + text + ":" + std::to_string(ntohs(in->sin_port));
  }
  if (any->sa_family == AF_INET6) {
    const sockaddr_in6* in6 = reinterpret_cast<const sockaddr_in6*>(any);
    inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
    return std::string("tcp://[") + text + "]:" + std::to_string(ntohs(in6->sin6_port));
  }
  if (any->sa_family == AF_UNIX) {
    const sockaddr_un* un = reinterpret_cast<const sockaddr_un*>(any);
    const size_t size = name.length > offsetof(sockaddr_un, sun_path) ? name.length - offsetof(sockaddr_un, sun_path) : 0;
    if (size > 0 && un->sun_path[0] == '\0') return "unix:@" + std::string(un->sun_path + 1, size - 1);
    return "unix:" + std::string(un->sun_path, strnlen(un->sun_path, size));
  }
  return "";
}

int Open(int family) {
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && family != AF_UNIX) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  }
  return fd;
}

napi_value Fail(napi_env env, int fd) {
  int error = errno;
  close(fd);
  return Number(env, -error);
}

// socketListen(host, port, backlog) -> fd | -errno
napi_value SocketListen(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  Name name;
  int result = Encode(Text(env, args[0]), Int(env, args[1]), &name);
  if (result < 0) return Number(env, result);
  int fd = Open(name.storage.ss_family);
  if (fd < 0) return Outcome(env, fd);
  int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (bind(fd, name.get(), name.length) < 0) return Fail(env, fd);
  if (listen(fd, Int(env, args[2])) < 0) return Fail(env, fd);
  return Number(env, fd);
}

// socketOpen(host, port, sockaddr: Uint8Array) -> { fd, length } | -errno: a socket of the right family and the
// address to connect it to, for the ring
napi_value SocketOpen(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  Name name;
  int result = Encode(Text(env, args[0]), Int(env, args[1]), &name);
  if (result < 0) return Number(env, result);
  Span target = Bytes(env, args[2]);
  if (target.length < name.length) return Number(env, -EINVAL);
  int fd = Open(name.storage.ss_family);
  if (fd < 0) return Outcome(env, fd);
  memcpy(target.data, &name.storage, name.length);
  napi_value out;
  napi_create_object(env, &out);
  Set(env, out, "fd", fd);
  Set(env, out, "length", name.length);
  return out;
}

// socketConnect(host, port) -> fd | -errno: blocking, for Unix sockets, where it does not wait
napi_value SocketConnect(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  Name name;
  int result = Encode(Text(env, args[0]), Int(env, args[1]), &name);
  if (result < 0) return Number(env, result);
  int fd = Open(name.storage.ss_family);
  if (fd < 0) return Outcome(env, fd);
  if (connect(fd, name.get(), name.length) < 0) return Fail(env, fd);
  return Number(env, fd);
}

// socketAccept(fd) -> fd | -errno: does not wait
napi_value SocketAccept(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  int fd = Int(env, args[0]);
  pollfd ready = {fd, POLLIN, 0};
  if (poll(&ready, 1, 0) != 1) return Number(env, -EAGAIN);
  return Outcome(env, accept4(fd, nullptr, nullptr, SOCK_CLOEXEC));
}

// socketEnded(fd) -> whether the other side sends no more; what it has sent may still be there
napi_value SocketEnded(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  pollfd ended = {Int(env, args[0]), POLLRDHUP, 0};
  napi_value out;
  napi_get_boolean(env, poll(&ended, 1, 0) == 1, &out);
  return out;
}

// socketPair() -> [fd, fd]
napi_value SocketPair(napi_env env, napi_callback_info) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) return Outcome(env, -1);
  napi_value out;
  napi_create_array_with_length(env, 2, &out);
  for (uint32_t i = 0; i < 2; i++) napi_set_element(env, out, i, Number(env, fds[i]));
  return out;
}

// socketName(fd, peer) -> 'tcp://1.2.3.4:5' | 'tcp://[::1]:5' | 'unix:/path' | ''
napi_value SocketName(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  bool peer = false;
  napi_get_value_bool(env, args[1], &peer);
  Name name;
  name.length = sizeof(name.storage);
  int fd = Int(env, args[0]);
  int result = peer ? getpeername(fd, name.get(), &name.length) : getsockname(fd, name.get(), &name.length);
  return String(env, result < 0 ? "" : Describe(name));
}

// socketShutdown(fd, how) -> 0 | -errno
napi_value SocketShutdown(napi_env env, napi_callback_info info) {
  Args<2> args(env, info);
  return Outcome(env, shutdown(Int(env, args[0]), Int(env, args[1])));
}

// socketTcp(fd, idleSeconds, intervalSeconds, probes) -> 0 | -errno: no delay, and keepalive, for a peer whose host is gone
// says nothing any more.
napi_value SocketTcp(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  int fd = Int(env, args[0]), one = 1;
  int idle = Int(env, args[1]), interval = Int(env, args[2]), probes = Int(env, args[3]);
  int result = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  if (result == 0) result = setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
  if (result == 0) result = setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
  if (result == 0) result = setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
  if (result == 0) result = setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
  return Outcome(env, result);
}

// socketListens(fd) -> whether it is a stream socket that listens
napi_value SocketListens(napi_env env, napi_callback_info info) {
  Args<1> args(env, info);
  int listens = 0, type = 0;
  socklen_t size = sizeof(int);
  bool is = getsockopt(Int(env, args[0]), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0 &&
            getsockopt(Int(env, args[0]), SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
  napi_value out;
  napi_get_boolean(env, is, &out);
  return out;
}

// socketBuffers(fd, sendBytes, receiveBytes) -> 0 | -errno
napi_value SocketBuffers(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  int send = Int(env, args[1]), receive = Int(env, args[2]);
  int result = send > 0 ? setsockopt(Int(env, args[0]), SOL_SOCKET, SO_SNDBUF, &send, sizeof(send)) : 0;
  if (result == 0 && receive > 0) {
    result = setsockopt(Int(env, args[0]), SOL_SOCKET, SO_RCVBUF, &receive, sizeof(receive));
  }
  return Outcome(env, result);
}

// sendDescriptors(fd, bytes, offset, length, fds: number[]) -> bytes sent | -errno. Never waits: what the other side's
// buffer does not take is left, the descriptors go with the first byte.
napi_value SendDescriptors(napi_env env, napi_callback_info info) {
  Args<5> args(env, info);
  const int fd = Int(env, args[0]);
  Span span = Bytes(env, args[1]);
  const size_t offset = static_cast<size_t>(Long(env, args[2]));
  const size_t length = static_cast<size_t>(Long(env, args[3]));
  if (offset > span.length || length > span.length - offset) return Number(env, -EINVAL);
  uint32_t count = 0;
  napi_get_array_length(env, args[4], &count);
  if (count > kDescriptorsMax) return Number(env, -EINVAL);
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(kDescriptorsMax * sizeof(int))] = {};
  iovec piece = {span.data + offset, length};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (uint32_t i = 0; i < count; i++) {
      napi_value element;
      napi_get_element(env, args[4], i, &element);
      int passed = Int(env, element);
      memcpy(CMSG_DATA(header) + i * sizeof(int), &passed, sizeof(int));
    }
  }
  size_t done = 0;
  while (done < length) {
    ssize_t result = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (result < 0 && errno == EINTR) continue;
    if (result < 0 && errno == EAGAIN && done > 0) break;
    if (result < 0) return Outcome(env, result);
    done += static_cast<size_t>(result);
    piece.iov_base = span.data + offset + done;
    piece.iov_len = length - done;
    message.msg_control = nullptr;
    message.msg_controllen = 0;
  }
  return Number(env, static_cast<int64_t>(done));
}

// receiveDescriptors(fd, bytes, offset, length) -> { bytes, fds } | -errno. As many of `length` bytes as are there, and
// the descriptors that came with them; 0 at the end of the stream, -EAGAIN when nothing is there yet. Never waits.
napi_value ReceiveDescriptors(napi_env env, napi_callback_info info) {
  Args<4> args(env, info);
  const int fd = Int(env, args[0]);
  Span span = Bytes(env, args[1]);
  const size_t offset = static_cast<size_t>(Long(env, args[2]));
  const size_t length = static_cast<size_t>(Long(env, args[3]));
  if (offset > span.length || length > span.length - offset) return Number(env, -EINVAL);
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(kDescriptorsMax * sizeof(int))];
  napi_value fds;
  napi_create_array(env, &fds);
  uint32_t count = 0;
  size_t done = 0;
  int error = 0;
  while (done < length) {
    iovec piece = {span.data + offset + done, length - done};
    msghdr message = {};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    ssize_t result = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (result < 0 && errno == EINTR) continue;
    if (result < 0) {
      error = errno;
      break;
    }
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      const size_t passed = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < passed; i++) {
        int received;
        memcpy(&received, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
        napi_set_element(env, fds, count++, Number(env, received));
      }
    }
    if (result == 0) break;
    done += static_cast<size_t>(result);
  }
  if (error != 0 && done == 0) return Number(env, -error);
  napi_value out;
  napi_create_object(env, &out);
  Set(env, out, "bytes", static_cast<int64_t>(done));
  Set(env, out, "fds", fds);
  return out;
}

}  // namespace

void RegisterSockets(napi_env env, napi_value exports) {
  Function(env, exports, "socketListen", SocketListen);
  Function(env, exports, "socketOpen", SocketOpen);
  Function(env, exports, "socketConnect", SocketConnect);
  Function(env, exports, "socketAccept", SocketAccept);
  Function(env, exports, "socketEnded", SocketEnded);
  Function(env, exports, "socketPair", SocketPair);
  Function(env, exports, "socketName", SocketName);
  Function(env, exports, "socketShutdown", SocketShutdown);
  Function(env, exports, "socketTcp", SocketTcp);
  Function(env, exports, "socketListens", SocketListens);
  Function(env, exports, "socketBuffers", SocketBuffers);
  Function(env, exports, "sendDescriptors", SendDescriptors);
  Function(env, exports, "receiveDescriptors", ReceiveDescriptors);
}

}  // namespace rawstor
