/*
 * What the kernel alone takes for the parts that an operation of 4 KiB is made of. Prints a line of JSON for each.
 *
 *   floor FILE UNIX_SOCKET SECONDS [SERVER_CPU CLIENT_CPU]
 *
 * FILE exists, and has what is to be read and overwritten. Echoes: a client and a server process on one socket, one request at a time, each
 * with blocking system calls and nothing else: a read's sizes there and back, and a write's.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "../load/histogram.h"

enum { BLOCK = 4096, REQUEST = 28, REPLY = 16 };

static double seconds;
static int server_cpu = -1, client_cpu = -1;

static void die(const char *what) {
  fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void pin(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) < 0) die("sched_setaffinity");
}

static double cpu_us(int who) {
  struct rusage u;
  getrusage(who, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void report(const char *name, double total_us, double server_cpu_us) {
  double count = (double)histogram_count();
  printf("{\"name\":\"%s\",\"count\":%.0f,\"meanUs\":%.2f,\"p50Us\":%.2f,\"p99Us\":%.2f,\"cpuUs\":%.2f}\n", name, count,
         total_us / count, histogram_us(0.5), histogram_us(0.99), server_cpu_us / count);
  fflush(stdout);
}

static void move(int fd, char *bytes, size_t length, int out) {
  for (size_t done = 0; done < length;) {
    ssize_t n = out ? write(fd, bytes + done, length - done) : read(fd, bytes + done, length - done);
    if (n <= 0) exit(0);
    done += (size_t)n;
  }
}

static int listening(const char *path, struct sockaddr_in *tcp) {
  int fd = socket(path ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  socklen_t length = sizeof *tcp;
  if (path) {
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    unlink(path);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0) die(path);
  } else {
    *tcp = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)tcp, sizeof *tcp) < 0) die("bind");
    getsockname(fd, (struct sockaddr *)tcp, &length);
  }
  if (listen(fd, 1) < 0) die("listen");
  return fd;
}

static void no_delay(int fd, int is_tcp) {
  int one = 1;
  if (is_tcp) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* In a process of its own each time, so that the histogram and the server's CPU time are its own. */
static void echo(const char *name, const char *path, size_t asked, size_t answered) {
  pid_t one = fork();
  if (one > 0) {
    waitpid(one, NULL, 0);
    return;
  }
  static char bytes[BLOCK + REQUEST];
  struct sockaddr_in tcp;
  int listener = listening(path, &tcp);
  pid_t server = fork();
  if (server == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(server_cpu);
    int fd = accept(listener, NULL, NULL);
    no_delay(fd, !path);
    for (;;) {
      move(fd, bytes, asked, 0);
      move(fd, bytes, answered, 1);
    }
  }
  pin(client_cpu);
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  if (path) snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
  int fd = socket(path ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
  if (connect(fd, path ? (struct sockaddr *)&at : (struct sockaddr *)&tcp, path ? sizeof at : sizeof tcp) < 0) die(name);
  no_delay(fd, !path);
  int64_t from = now_ns(), until = from + (int64_t)(seconds * 1e9), turn = from;
  while (turn < until) {
    move(fd, bytes, asked, 1);
    move(fd, bytes, answered, 0);
    int64_t now = now_ns();
    histogram_add(now - turn);
    turn = now;
  }
  close(fd);
  waitpid(server, NULL, 0);
  report(name, (double)(turn - from) / 1e3, cpu_us(RUSAGE_CHILDREN));
  exit(0);
}

enum what { READS, WRITES, DURABLE };

static void file(const char *name, const char *path, enum what what) {
  pid_t one = fork();
  if (one > 0) {
    waitpid(one, NULL, 0);
    return;
  }
  pin(server_cpu);
  static char bytes[BLOCK];
  memset(bytes, 7, sizeof bytes);
  int fd = open(path, O_RDWR);
  struct stat s;
  if (fd < 0 || fstat(fd, &s) < 0) die(path);
  int64_t blocks = s.st_size / BLOCK;
  uint64_t state = 88172645463325252ull;
  double cpu = cpu_us(RUSAGE_SELF);
  int64_t from = now_ns(), until = from + (int64_t)(seconds * 1e9), spent = 0;
  while (now_ns() < until) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    off_t offset = (off_t)(state % (uint64_t)blocks) * BLOCK;
    /* Of a durable write the sync alone is told, the write is told beside it. */
    if (what == DURABLE && pwrite(fd, bytes, BLOCK, offset) != BLOCK) die("pwrite");
    int64_t began = now_ns();
    ssize_t done = what == READS ? pread(fd, bytes, BLOCK, offset) : what == WRITES ? pwrite(fd, bytes, BLOCK, offset) : fdatasync(fd);
    if (done < 0) die(name);
    int64_t took = now_ns() - began;
    histogram_add(took);
    spent += took;
  }
  report(name, (double)spent / 1e3, cpu_us(RUSAGE_SELF) - cpu);
  exit(0);
}

int main(int argc, char **argv) {
  if (argc < 4) return 64;
  seconds = atof(argv[3]);
  if (argc > 5) server_cpu = atoi(argv[4]), client_cpu = atoi(argv[5]);
  echo("echo of a read over a Unix socket", argv[2], REQUEST, REPLY + BLOCK);
  echo("echo of a write over a Unix socket", argv[2], REQUEST + BLOCK, REPLY);
  echo("echo of a read over TCP", NULL, REQUEST, REPLY + BLOCK);
  echo("echo of a write over TCP", NULL, REQUEST + BLOCK, REPLY);
  file("pread, in the page cache", argv[1], READS);
  file("pwrite, in the page cache", argv[1], WRITES);
  file("fdatasync of one block", argv[1], DURABLE);
  return 0;
}
