/* The client side of one NBD connection: handshake, gathered requests, replies taken in large gulps. */
#ifndef NBDCLIENT_H
#define NBDCLIENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum { NBD_READ = 0, NBD_WRITE = 1, NBD_FLUSH = 3 };

struct nbd_request_header {
  uint32_t magic;
  uint16_t flags, type;
  uint64_t cookie, offset;
  uint32_t length;
} __attribute__((packed));

struct connection {
  int fd;
  uint64_t size_bytes;
  /* Requests not yet taken by the kernel: iovecs from out_from to out_to. */
  struct iovec *out;
  size_t out_from, out_to;
  /* Replies: bytes from in_from to in_to, and the payload still to skip of the read that in_cookie names. */
  uint8_t *in;
  size_t in_from, in_to;
  uint64_t skip_bytes, in_cookie;
  /* With what is being skipped the request is done. */
  int in_last;
  /* Length of the read of each cookie that is in flight; 0 for other requests. */
  uint32_t *read_lengths;
};

typedef void nbd_done(void *context, uint64_t cookie);

/* Connects to nbd+unix:///EXPORT?socket=PATH or nbd://HOST:PORT/EXPORT; any failure ends the program. */
void nbd_open(struct connection *c, const char *uri, size_t requests_max, int structured);
/* Queues a request; its cookie is below requests_max and not in flight. Header and payload stay until it is done. */
void nbd_queue(struct connection *c, struct nbd_request_header *header, int type, uint64_t cookie, uint64_t offset,
               uint32_t length, void *payload);
/* Sends what is queued, as far as the kernel takes it. */
void nbd_send(struct connection *c);
/* Takes what has arrived and tells of every request that is done. */
void nbd_receive(struct connection *c, nbd_done *done, void *context);
void nbd_close(struct connection *c);
/* Prints what went wrong with errno's text and ends the program. */
void die(const char *what);

#endif
