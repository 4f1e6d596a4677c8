/* Latencies, in buckets 1.6 % wide. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

void histogram_add(int64_t took_ns);
uint64_t histogram_count(void);
/* Microseconds below which this share of all lies. */
double histogram_us(double share);
double histogram_max_us(void);

#endif
