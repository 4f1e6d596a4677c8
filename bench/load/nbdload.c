/*
 * Loads an NBD server and prints one line of JSON. One thread, closed loop: each of connections x depth
 * slots sends its next request as soon as the last one is answered. What falls due together is sent together.
 *
 *   nbdload uri=URI op=read|write|writeflush|mix|fill [pattern=random|sequential] [block=BYTES] [depth=N]
 *           [connections=N] [warmup=SECONDS] [seconds=SECONDS] [seed=N] [rate=BYTES] [gaps=MS] [part=N] [parts=N]
 *           [reads=PERCENT] [flushevery=N] [structured=1]
 *
 * writeflush counts a write and the flush after it as one operation. fill writes every block once, in
 * order, flushes, and ends. The same seed gives the same order of random blocks. Prints `START` when the measured part begins.
 * mix: that percentage of reads, the others write. flushevery: a flush of its own, not counted, behind so many requests;
 * the other slots go on meanwhile. structured: replies to reads are asked for in chunks.
 * With parts, fill writes the one of so many random shares of the blocks that part (from 0) says.
 * rate: no more bytes a second than that are asked for. gaps: prints `GAP END LENGTH`, both in microseconds of the
 * monotonic clock, where nothing is answered for at least so long while something is asked for. SIGTERM ends it early.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "histogram.h"
#include "nbdclient.h"

enum { TICK_NS = 500000, CONNECTIONS_MAX = 64, DEPTH_MAX = 256 };

struct slot {
  struct nbd_request_header header;
  void *payload;
  int64_t started_ns;
  /* The flush behind a write is under way. */
  int flushing;
  /* A flush of its own. */
  int uncounted;
};

struct lane {
  struct connection connection;
  struct slot *slots;
};

static const char *uri, *op = "read", *pattern = "random";
static int64_t block = 4096, depth = 1, connections = 1, part = 0, parts = 1;
static int64_t reads = 0, flush_every = 0, since_flush, structured = 0;
static double warmup = 0.3, seconds = 5, rate = 0, gaps = 0;
static int64_t blocks, cursor, in_flight, measure_from, measure_until, turn_ns, due_ns, silent_since;
static struct { struct lane *lane; uint64_t index; } resting[CONNECTIONS_MAX * DEPTH_MAX];
static int64_t rests;
static int filling, writing, flush_after, is_random, wanted = 1;
static uint64_t random_state = 88172645463325252ull;

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static double cpu_seconds(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static uint64_t random_next(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  return random_state ^= random_state << 17;
}

/* Whether the next request has to wait for its time; then it is remembered. */
static int rests_now(struct lane *lane, uint64_t index) {
  if (rate == 0) return 0;
  if (due_ns > turn_ns) {
    resting[rests].lane = lane;
    resting[rests++].index = index;
    return 1;
  }
  /* What was missed in a pause is made up for, but for a moment only. */
  if (due_ns < turn_ns - 20 * TICK_NS) due_ns = turn_ns - 20 * TICK_NS;
  due_ns += (int64_t)((double)block / rate * 1e9);
  return 0;
}

/* Blocks of other shares are passed over. */
static void pass_over(void) {
  while (cursor < blocks && (int64_t)(((uint64_t)cursor * 0x9e3779b97f4a7c15ull >> 33) % (uint64_t)parts) != part) cursor++;
}

static void start_next(struct lane *lane, uint64_t index) {
  struct slot *slot = &lane->slots[index];
  if (filling) pass_over();
  if (filling && cursor == blocks) return;
  if (rests_now(lane, index)) return;
  if (in_flight == 0) silent_since = turn_ns;
  slot->flushing = 0;
  slot->started_ns = turn_ns;
  in_flight++;
  slot->uncounted = flush_every > 0 && since_flush++ == flush_every;
  if (slot->uncounted) {
    since_flush = 0;
    nbd_queue(&lane->connection, &slot->header, NBD_FLUSH, index, 0, 0, NULL);
    return;
  }
  int64_t number = is_random ? (int64_t)(random_next() % (uint64_t)blocks) : cursor++;
  if (!filling && cursor == blocks) cursor = 0;
  int writes = reads > 0 ? random_next() % 100 >= (uint64_t)reads : writing;
  nbd_queue(&lane->connection, &slot->header, writes ? NBD_WRITE : NBD_READ, index, (uint64_t)(number * block),
            (uint32_t)block, slot->payload);
}

static void on_done(void *context, uint64_t index) {
  struct lane *lane = context;
  struct slot *slot = &lane->slots[index];
  if (flush_after && !slot->flushing && !slot->uncounted) {
    slot->flushing = 1;
    nbd_queue(&lane->connection, &slot->header, NBD_FLUSH, index, 0, 0, NULL);
    return;
  }
  in_flight--;
  int64_t silence = turn_ns - silent_since;
  silent_since = turn_ns;
  if (gaps > 0 && (double)silence >= gaps * 1e6) {
    printf("GAP %lld %lld\n", (long long)turn_ns / 1000, (long long)silence / 1000);
    fflush(stdout);
  }
  if (turn_ns >= measure_from && turn_ns < measure_until && !slot->uncounted) histogram_add(turn_ns - slot->started_ns);
  if (wanted) start_next(lane, index);
}

static volatile sig_atomic_t stopping;

static void on_term(int number) {
  (void)number;
  stopping = 1;
}

static void turn(struct lane *lanes) {
  struct pollfd fds[CONNECTIONS_MAX];
  for (int i = 0; i < connections; i++) {
    struct connection *c = &lanes[i].connection;
    nbd_send(c);
    fds[i] = (struct pollfd){.fd = c->fd, .events = (short)(c->out_to > 0 ? POLLIN | POLLOUT : POLLIN)};
  }
  errno = ETIMEDOUT;
  struct timespec tick = {.tv_nsec = TICK_NS}, patience = {.tv_sec = 20};
  int ready = ppoll(fds, (nfds_t)connections, rests > 0 ? &tick : &patience, NULL);
  if (ready < 0 && errno == EINTR) return;
  if (ready < 0 || (ready == 0 && rests == 0)) die("the server does not answer");
  turn_ns = now_ns();
  for (int i = 0; i < connections; i++) {
    if (fds[i].revents & ~POLLOUT) nbd_receive(&lanes[i].connection, on_done, &lanes[i]);
  }
  while (rests > 0 && wanted && due_ns <= turn_ns) {
    rests--;
    start_next(resting[rests].lane, resting[rests].index);
  }
}

static int options(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    char *value = strchr(argv[i], '=');
    if (value == NULL) return 0;
    *value++ = 0;
    if (!strcmp(argv[i], "uri")) uri = value;
    else if (!strcmp(argv[i], "op")) op = value;
    else if (!strcmp(argv[i], "pattern")) pattern = value;
    else if (!strcmp(argv[i], "block")) block = atoll(value);
    else if (!strcmp(argv[i], "depth")) depth = atoll(value);
    else if (!strcmp(argv[i], "connections")) connections = atoll(value);
    else if (!strcmp(argv[i], "part")) part = atoll(value);
    else if (!strcmp(argv[i], "parts")) parts = atoll(value);
    else if (!strcmp(argv[i], "reads")) reads = atoll(value);
    else if (!strcmp(argv[i], "flushevery")) flush_every = atoll(value);
    else if (!strcmp(argv[i], "structured")) structured = atoll(value);
    else if (!strcmp(argv[i], "rate")) rate = atof(value);
    else if (!strcmp(argv[i], "gaps")) gaps = atof(value);
    else if (!strcmp(argv[i], "warmup")) warmup = atof(value);
    else if (!strcmp(argv[i], "seconds")) seconds = atof(value);
    /* Any state but 0 will do; small seeds are spread first. */
    else if (!strcmp(argv[i], "seed")) random_state ^= (uint64_t)(atoll(value) + 1) * 0x9e3779b97f4a7c15ull;
    else return 0;
  }
  filling = !strcmp(op, "fill");
  flush_after = filling || !strcmp(op, "writeflush");
  writing = flush_after || !strcmp(op, "write");
  if (strcmp(op, "mix") == 0 && reads == 0) return 0;
  is_random = !filling && !strcmp(pattern, "random");
  /* A flush for each block would make a fill slow; it has one at its end. */
  if (filling) warmup = 0, seconds = 3600, flush_after = 0;
  return uri != NULL && parts >= 1 && connections >= 1 && connections <= CONNECTIONS_MAX && depth >= 1 && depth <= DEPTH_MAX &&
         block >= 512;
}

static void flush_and_wait(struct lane *lane) {
  struct slot *slot = &lane->slots[0];
  slot->uncounted = 1;
  wanted = 0;
  in_flight++;
  nbd_queue(&lane->connection, &slot->header, NBD_FLUSH, 0, 0, 0, NULL);
  while (in_flight > 0) turn(lane);
}

int main(int argc, char **argv) {
  static struct lane lanes[CONNECTIONS_MAX];
  if (!options(argc, argv)) return 64;
  for (int i = 0; i < connections; i++) {
    nbd_open(&lanes[i].connection, uri, (size_t)depth, structured != 0);
    lanes[i].slots = calloc((size_t)depth, sizeof *lanes[i].slots);
  }
  blocks = (int64_t)lanes[0].connection.size_bytes / block;
  if (blocks == 0) die("the export is smaller than a block");
  turn_ns = silent_since = due_ns = now_ns();
  measure_from = turn_ns + (int64_t)(warmup * 1e9);
  measure_until = measure_from + (int64_t)(seconds * 1e9);
  for (int64_t i = 0; i < connections * depth; i++) {
    struct lane *lane = &lanes[i % connections];
    uint64_t *words = lane->slots[i / connections].payload = aligned_alloc(4096, (size_t)((block + 4095) & ~4095ll));
    for (int64_t w = 0; w < block / 8; w++) words[w] = random_next();
    start_next(lane, (uint64_t)(i / connections));
  }
  int64_t started = 0;
  double cpu = cpu_seconds();
  signal(SIGTERM, on_term);
  while (!stopping && turn_ns < measure_until && in_flight + rests > 0) {
    if (!started && turn_ns >= measure_from) {
      started = turn_ns;
      cpu = cpu_seconds();
      puts("START");
      fflush(stdout);
    }
    turn(lanes);
  }
  if (filling) flush_and_wait(&lanes[0]);
  double took = (double)(now_ns() - started) / 1e9;
  cpu = cpu_seconds() - cpu;
  wanted = 0;
  while (in_flight > 0) turn(lanes);
  for (int i = 0; i < connections; i++) nbd_close(&lanes[i].connection);
  printf("{\"operations\":%llu,\"bytes\":%llu,\"seconds\":%.6f,\"loadCpuSeconds\":%.6f,"
         "\"p50Us\":%.1f,\"p95Us\":%.1f,\"p99Us\":%.1f,\"p999Us\":%.1f,\"maxUs\":%.1f}\n",
         (unsigned long long)histogram_count(), (unsigned long long)histogram_count() * (unsigned long long)block, took,
         cpu, histogram_us(0.5), histogram_us(0.95), histogram_us(0.99), histogram_us(0.999), histogram_max_us());
  return 0;
}
