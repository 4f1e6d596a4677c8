#include "histogram.h"

enum { BUCKETS = 64 * 64 };

static uint64_t buckets[BUCKETS], count;
static int64_t slowest_ns;

/* 64 buckets for each power of two. */
static int bucket_of(uint64_t ns) {
  if (ns < 64) return (int)ns;
  int power = 63 - __builtin_clzll(ns);
  return (power - 5) * 64 + (int)((ns >> (power - 6)) & 63);
}

static double bucket_us(int bucket) {
  if (bucket < 64) return bucket / 1e3;
  return (double)((64ull + (uint64_t)bucket % 64) << (bucket / 64 - 1)) / 1e3;
}

void histogram_add(int64_t took_ns) {
  count++;
  buckets[bucket_of((uint64_t)took_ns)]++;
  if (took_ns > slowest_ns) slowest_ns = took_ns;
}

uint64_t histogram_count(void) { return count; }

double histogram_us(double share) {
  uint64_t rank = (uint64_t)((double)count * share), seen = 0;
  for (int i = 0; i < BUCKETS; i++) {
    seen += buckets[i];
    if (seen > rank) return bucket_us(i);
  }
  return histogram_max_us();
}

double histogram_max_us(void) { return (double)slowest_ns / 1e3; }
