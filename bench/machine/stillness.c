/*
 * Tells when the machine itself stood still: a thread of real-time priority sleeps a millisecond at a time, and prints
 * `GAP END LENGTH`, both in microseconds of the monotonic clock, where it woke up later than `argv[1]` milliseconds. In a virtual
 * machine whose host limits its CPU time nothing runs then. Ends by SIGTERM.
 */
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

enum { PERIOD_NS = 1000000, PRIORITY = 50 };

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

int main(int argc, char **argv) {
  int64_t least_ns = (argc > 1 ? atof(argv[1]) : 3) * 1e6;
  struct sched_param param = {.sched_priority = PRIORITY};
  struct timespec pause = {0, PERIOD_NS};
  setvbuf(stdout, NULL, _IOLBF, 0);
  mlockall(MCL_CURRENT | MCL_FUTURE);
  if (sched_setscheduler(0, SCHED_FIFO, &param) != 0 && setpriority(PRIO_PROCESS, 0, -20) != 0) {
    perror("stillness: no priority");
    return 1;
  }
  puts("START");
  for (int64_t before = now_ns();;) {
    clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    int64_t now = now_ns();
    if (now - before - PERIOD_NS >= least_ns)
      printf("GAP %lld %lld\n", (long long)now / 1000, (long long)(now - before - PERIOD_NS) / 1000);
    before = now;
  }
}
