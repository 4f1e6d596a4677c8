#define _GNU_SOURCE
#include "nbdclient.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { GULP_BYTES = 256 * 1024, OPT_GO = 7, OPT_STRUCTURED_REPLY = 8, REP_ACK = 1, REP_INFO = 3, INFO_EXPORT = 0 };
enum { CHUNK_DONE = 1, CHUNK_ERROR = 0x8000 };
static const uint64_t OPTION_MAGIC = 0x49484156454f5054ull, OPTION_REPLY_MAGIC = 0x3e889045565a9ull;
static const uint32_t REQUEST_MAGIC = 0x25609513, REPLY_MAGIC = 0x67446698, CHUNK_MAGIC = 0x668e33ef;

void die(const char *what) {
  fprintf(stderr, "nbdload: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void read_whole(int fd, void *bytes, size_t length) {
  for (size_t done = 0; done < length;) {
    ssize_t n = read(fd, (char *)bytes + done, length - done);
    if (n <= 0) die("handshake");
    done += (size_t)n;
  }
}

static void write_whole(int fd, const void *bytes, size_t length) {
  if (write(fd, bytes, length) != (ssize_t)length) die("handshake");
}

static int connect_unix(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) die(path);
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) die(path);
  return fd;
}

static int connect_tcp(const char *host, const char *port) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
  if (getaddrinfo(host, port, &hints, &found) != 0) die(host);
  int fd = socket(found->ai_family, SOCK_STREAM, 0), one = 1;
  if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) < 0) die(host);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  freeaddrinfo(found);
  return fd;
}

/* Connects, and leaves the export's name in `name`. */
static int connect_uri(const char *uri, char name[256]) {
  char host[256], port[16] = "10809", path[256];
  name[0] = 0;
  if (strncmp(uri, "nbd+unix:///", 12) == 0) {
    const char *query = strstr(uri, "?socket=");
    if (query == NULL) die("no ?socket= in the URI");
    snprintf(name, 256, "%.*s", (int)(query - uri - 12), uri + 12);
    snprintf(path, sizeof path, "%s", query + 8);
    return connect_unix(path);
  }
  if (sscanf(uri, "nbd://%255[^:/]:%15[0-9]/%255s", host, port, name) >= 2) return connect_tcp(host, port);
  die("a URI this program does not know");
  return -1;
}

/* Sends an option and waits for its acknowledgement, taking the export's size from what comes before. */
static void option(struct connection *c, uint32_t number, const void *data, uint32_t length) {
  uint8_t message[16 + 512];
  uint32_t word;
  uint64_t magic = htobe64(OPTION_MAGIC);
  memcpy(message, &magic, 8);
  memcpy(message + 8, (word = htobe32(number), &word), 4);
  memcpy(message + 12, (word = htobe32(length), &word), 4);
  memcpy(message + 16, data, length);
  write_whole(c->fd, message, 16 + length);
  for (;;) {
    struct { uint64_t magic; uint32_t option, type, length; } __attribute__((packed)) reply;
    uint8_t body[4096];
    read_whole(c->fd, &reply, sizeof reply);
    uint32_t type = be32toh(reply.type), bytes = be32toh(reply.length);
    if (be64toh(reply.magic) != OPTION_REPLY_MAGIC || bytes > sizeof body) die("bad option reply");
    read_whole(c->fd, body, bytes);
    if (type == REP_ACK) return;
    if (type & 0x80000000u) die("the server refuses an option");
    if (type == REP_INFO && bytes >= 12 && body[0] == 0 && body[1] == INFO_EXPORT) {
      uint64_t size;
      memcpy(&size, body + 2, 8);
      c->size_bytes = be64toh(size);
    }
  }
}

static void handshake(struct connection *c, const char *name, int structured) {
  struct { uint64_t magic, option_magic; uint16_t flags; } __attribute__((packed)) greeting;
  read_whole(c->fd, &greeting, sizeof greeting);
  if (be64toh(greeting.option_magic) != OPTION_MAGIC) die("not a newstyle NBD server");
  uint32_t flags = htobe32(be16toh(greeting.flags) & 3);
  write_whole(c->fd, &flags, 4);
  if (structured) option(c, OPT_STRUCTURED_REPLY, "", 0);
  /* No information asked for beyond the export's size. */
  uint8_t go[4 + 256 + 2] = {0};
  uint32_t name_length = (uint32_t)strlen(name), word = htobe32(name_length);
  memcpy(go, &word, 4);
  memcpy(go + 4, name, name_length);
  option(c, OPT_GO, go, name_length + 6);
}

void nbd_open(struct connection *c, const char *uri, size_t requests_max, int structured) {
  char name[256];
  memset(c, 0, sizeof *c);
  c->fd = connect_uri(uri, name);
  handshake(c, name, structured);
  c->out = calloc(2 * requests_max, sizeof *c->out);
  c->read_lengths = calloc(requests_max, sizeof *c->read_lengths);
  c->in = malloc(GULP_BYTES);
  fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

void nbd_queue(struct connection *c, struct nbd_request_header *header, int type, uint64_t cookie, uint64_t offset,
               uint32_t length, void *payload) {
  header->magic = htobe32(REQUEST_MAGIC);
  header->flags = 0;
  header->type = htobe16((uint16_t)type);
  header->cookie = cookie;
  header->offset = htobe64(offset);
  header->length = htobe32(length);
  c->read_lengths[cookie] = type == NBD_READ ? length : 0;
  c->out[c->out_to++] = (struct iovec){header, sizeof *header};
  if (type == NBD_WRITE) c->out[c->out_to++] = (struct iovec){payload, length};
}

void nbd_send(struct connection *c) {
  while (c->out_from < c->out_to) {
    size_t count = c->out_to - c->out_from;
    ssize_t sent = writev(c->fd, c->out + c->out_from, count < 1024 ? (int)count : 1024);
    if (sent < 0 && errno == EAGAIN) break;
    if (sent < 0) die("send");
    while (sent > 0) {
      struct iovec *first = &c->out[c->out_from];
      size_t taken = (size_t)sent < first->iov_len ? (size_t)sent : first->iov_len;
      first->iov_base = (char *)first->iov_base + taken;
      first->iov_len -= taken;
      sent -= (ssize_t)taken;
      if (first->iov_len == 0) c->out_from++;
    }
  }
  /* Every request is queued once at a time, so that what is left and what will come fit behind each other. */
  memmove(c->out, c->out + c->out_from, (c->out_to - c->out_from) * sizeof *c->out);
  c->out_to -= c->out_from;
  c->out_from = 0;
}

/* Takes the header of a simple reply, or of a chunk of a structured one. @returns its bytes; 0: it is not all here. */
static size_t take_header(struct connection *c, size_t available) {
  struct { uint32_t magic, error; uint64_t cookie; } __attribute__((packed)) reply;
  struct { uint32_t magic; uint16_t flags, type; uint64_t cookie; uint32_t length; } __attribute__((packed)) chunk;
  if (available < sizeof reply) return 0;
  memcpy(&reply, c->in + c->in_from, sizeof reply);
  if (be32toh(reply.magic) == REPLY_MAGIC) {
    errno = (int)be32toh(reply.error);
    if (errno != 0) die("a request failed");
    c->in_cookie = reply.cookie;
    c->in_last = 1;
    c->skip_bytes = c->read_lengths[reply.cookie];
    return sizeof reply;
  }
  if (be32toh(reply.magic) != CHUNK_MAGIC) die("neither a reply nor a chunk of one");
  if (available < sizeof chunk) return 0;
  memcpy(&chunk, c->in + c->in_from, sizeof chunk);
  errno = EIO;
  if (be16toh(chunk.type) & CHUNK_ERROR) die("a request failed");
  c->in_cookie = chunk.cookie;
  c->in_last = (be16toh(chunk.flags) & CHUNK_DONE) != 0;
  c->skip_bytes = be32toh(chunk.length);
  return sizeof chunk;
}

void nbd_receive(struct connection *c, nbd_done *done, void *context) {
  ssize_t got = read(c->fd, c->in + c->in_to, GULP_BYTES - c->in_to);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) die("the server closed the connection");
  c->in_to += (size_t)got;
  while (c->in_from < c->in_to) {
    size_t available = c->in_to - c->in_from;
    if (c->skip_bytes > 0) {
      size_t skipped = available < c->skip_bytes ? available : c->skip_bytes;
      c->in_from += skipped;
      c->skip_bytes -= skipped;
      if (c->skip_bytes == 0 && c->in_last) done(context, c->in_cookie);
      continue;
    }
    size_t header = take_header(c, available);
    if (header == 0) break;
    c->in_from += header;
    if (c->skip_bytes == 0 && c->in_last) done(context, c->in_cookie);
  }
  memmove(c->in, c->in + c->in_from, c->in_to - c->in_from);
  c->in_to -= c->in_from;
  c->in_from = 0;
}

void nbd_close(struct connection *c) {
  struct nbd_request_header header = {.magic = htobe32(REQUEST_MAGIC), .type = htobe16(2)};
  if (write(c->fd, &header, sizeof header) < 0) die("disconnect");
  close(c->fd);
}
