/*
 * Numbered records of 4 KiB, written and made durable one group after another, and their check.
 *
 *   records write  path=P salt=N slots=N [group=N] [first=N] [count=N] [seconds=N]
 *   records verify path=P salt=N slots=N [group=N] [last=N]
 *
 * Record s goes to slot (s * MULTIPLIER) mod slots, so that records come by in a scattered order and overwrite
 * each other round by round. Its bytes follow from (salt, s): any other byte is noticed. `write` prints
 * `RECORD s` once s and all before it are synced, and reads an older record back after every group.
 * `verify` knows of `last` synced records, and of as many as the newest found one proves (the next group is
 * begun only when the one before is durable): each slot has to hold the last of those that went there, or a newer one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096 };
#define MULTIPLIER 2654435761u

static uint64_t salt, slots, group_size = 1, first = 1, count, seconds, last;
static const char *path;
static uint64_t *slot_to_first; /* the record of round 0 in each slot */

static void die(const char *what, uint64_t number) {
  printf("records: %s %llu: %s\n", what, (unsigned long long)number, strerror(errno));
  exit(1);
}

static uint64_t slot_of(uint64_t record) { return (record * MULTIPLIER) & (slots - 1); }

static void fill(uint8_t *block, uint64_t record) {
  uint64_t state = salt * 0x9e3779b97f4a7c15ull ^ record;
  uint64_t *words = (uint64_t *)block;
  words[0] = 0x3130304352574152ull; /* RAWRC001 */
  words[1] = record;
  words[2] = salt;
  for (int i = 3; i < BLOCK / 8; i++) {
    uint64_t z = (state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    words[i] = z ^ (z >> 31);
  }
}

/* The number of the whole record in the block; 0 for none of this salt. Anything in between ends the program. */
static uint64_t judge(const uint8_t *block, uint64_t slot) {
  static uint8_t expected[BLOCK] __attribute__((aligned(BLOCK)));
  const uint64_t *words = (const uint64_t *)block;
  if (words[0] != 0x3130304352574152ull || words[2] != salt) {
    return 0;
  }
  fill(expected, words[1]);
  errno = 0;
  if (memcmp(block, expected, BLOCK) != 0) die("torn or corrupt record", words[1]);
  if (slot_of(words[1]) != slot) die("misplaced record", words[1]);
  return words[1];
}

/* The last record up to `limit` that went to the slot; 0 for none. */
static uint64_t newest_upto(uint64_t slot, uint64_t limit) {
  uint64_t start = slot_to_first[slot];
  if (start > limit) return 0;
  uint64_t record = start + (limit - start) / slots * slots;
  return record;
}

static void move(int fd, int writing, uint8_t *block, uint64_t record) {
  off_t offset = (off_t)(slot_of(record) * BLOCK);
  ssize_t done = writing ? pwrite(fd, block, BLOCK, offset) : pread(fd, block, BLOCK, offset);
  if (done != BLOCK) die(writing ? "write of record" : "read of record", record);
}

static int write_records(int fd, uint8_t *block) {
  time_t end = time(NULL) + (time_t)seconds;
  uint64_t next = first;
  while ((count == 0 || next < first + count) && (seconds == 0 || time(NULL) < end)) {
    for (uint64_t i = 0; i < group_size; i++, next++) {
      fill(block, next);
      move(fd, 1, block, next);
    }
    if (fdatasync(fd) != 0) die("sync after record", next - 1);
    printf("RECORD %llu\n", (unsigned long long)(next - 1));
    fflush(stdout);
    uint64_t window = next - first < slots ? next - first : slots;
    uint64_t older = next - 1 - (next * 7919) % window;
    move(fd, 0, block, older);
    errno = 0;
    if (judge(block, slot_of(older)) != older) die("stale read of record", older);
  }
  return 0;
}

static int verify_records(int fd, uint8_t *block) {
  uint64_t *found = calloc(slots, sizeof *found), newest = 0, held = 0;
  for (uint64_t slot = 0; slot < slots; slot++) {
    if (pread(fd, block, BLOCK, (off_t)(slot * BLOCK)) != BLOCK) die("read of slot", slot);
    found[slot] = judge(block, slot);
    if (found[slot] > newest) newest = found[slot];
    if (found[slot] > 0) held++;
  }
  uint64_t synced = newest > group_size ? newest - group_size : 0;
  if (last > synced) synced = last;
  errno = 0;
  for (uint64_t slot = 0; slot < slots; slot++) {
    uint64_t lowest = newest_upto(slot, synced);
    if (found[slot] < lowest) {
      printf("records: slot %llu holds %llu\n", (unsigned long long)slot, (unsigned long long)found[slot]);
      die("lost record", lowest);
    }
  }
  printf("RECORDS-OK synced=%llu newest=%llu held=%llu\n", (unsigned long long)synced, (unsigned long long)newest,
         (unsigned long long)held);
  return 0;
}

int main(int argc, char **argv) {
  struct { const char *name; uint64_t *value; } numbers[] = {
      {"salt", &salt},   {"slots", &slots},     {"group", &group_size}, {"first", &first},
      {"count", &count}, {"seconds", &seconds}, {"last", &last}};
  for (int i = 2; i < argc; i++) {
    char *value = strchr(argv[i], '=');
    if (value == NULL) return 64;
    *value++ = 0;
    if (strcmp(argv[i], "path") == 0) path = value;
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
      if (strcmp(argv[i], numbers[n].name) == 0) *numbers[n].value = strtoull(value, NULL, 10);
    }
  }
  if (path == NULL || slots == 0 || (slots & (slots - 1)) != 0 || group_size == 0 || group_size > slots || first == 0) {
    return 64;
  }
  int writing = strcmp(argv[1], "write") == 0;
  slot_to_first = calloc(slots, sizeof *slot_to_first);
  for (uint64_t record = 1; record <= slots; record++) slot_to_first[slot_of(record)] = record;
  uint8_t *block = aligned_alloc(BLOCK, BLOCK);
  int fd = open(path, (writing ? O_RDWR : O_RDONLY) | O_DIRECT);
  if (fd < 0) die("open", 0);
  return writing ? write_records(fd, block) : verify_records(fd, block);
}
