/* What every operation needs: chance, descriptors, the copy, and how a failure is told. */
#include "file.h"

/** How far a time may lie before the clock of this program: a tick, and what two clocks of one machine differ by. */
enum { CLOCKS_DIFFER_NS = 10 * 1000 * 1000 };

static const int FLAGS[KINDS] = {O_RDWR, O_RDONLY, O_WRONLY, O_RDWR | O_APPEND, O_RDWR | O_DIRECT};

uint64_t seed, state;
long number;
struct record last[LAST];
struct file files[2];
uint8_t *block, *other;
int has_direct = 1, has_zero = 1, memory;

uint64_t next(void) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

size_t below(size_t bound) { return bound == 0 ? 0 : next() % bound; }
int chance(size_t of) { return below(of) == 0; }

void fail(const char *what) {
  printf("\nMISMATCH: %s\nseed %llu, operation %ld; the last ones, with the size after them:\n", what,
         (unsigned long long)seed, number);
  for (long i = number > LAST ? number - LAST + 1 : 1; i <= number; i++) {
    struct record *r = &last[i % LAST];
    if (r->operation == NULL) continue;
    printf("  %ld %s %s file %d%s offset %zu length %zu size %zu%s\n", i, r->operation, r->how ? r->how : "",
           r->file.number, r->file.orphan ? " (unlinked)" : "", r->offset, r->length, r->file.size,
           r->file.is_unsynced ? " (mapping unsynced)" : "");
  }
  fflush(stdout);
  _exit(1);
}

void fail_errno(const char *call) {
  char text[200];
  snprintf(text, sizeof text, "%s: %s", call, strerror(errno));
  fail(text);
}

void note(const struct file *f, const char *how, size_t offset, size_t length) {
  struct record *r = &last[number % LAST];
  r->how = how;
  r->file = *f;
  r->offset = offset;
  r->length = length;
}

static int shown(char *text, size_t room, const char *what, const uint8_t *bytes, size_t length) {
  int at = snprintf(text, room, "%s", what);
  for (size_t i = 0; i < length; i++) at += snprintf(text + at, room - at, " %02x", bytes[i]);
  return at;
}

void compare(struct file *f, const char *how, const uint8_t *found, size_t offset, size_t length) {
  const uint8_t *expected = f->bytes + offset;
  size_t first = 0, final = length, differ = 0;
  char text[600];
  if (memcmp(expected, found, length) == 0) return;
  while (expected[first] == found[first]) first++;
  while (expected[final - 1] == found[final - 1]) final--;
  for (size_t i = first; i < final; i++) differ += expected[i] != found[i];
  int at = snprintf(text, sizeof text, "%s of file %d, %zu bytes from %zu: %zu from %zu to %zu differ", how, f->number,
                    length, offset, differ, offset + first, offset + final);
  at += shown(text + at, sizeof text - at, "\n  expected", expected + first, least(24, final - first));
  shown(text + at, sizeof text - at, "\n  found   ", found + first, least(24, final - first));
  fail(text);
}

void expect_count(const char *call, ssize_t count, size_t expected) {
  char text[200];
  if (count < 0) fail_errno(call);
  if ((size_t)count == expected) return;
  snprintf(text, sizeof text, "%s answered %zd and not %zu", call, count, expected);
  fail(text);
}

void must(const char *call, int result) {
  if (result < 0) fail_errno(call);
}

/* Names, descriptors. */

void path_of(const struct file *f, int name, char *path) {
  snprintf(path, PATH_ROOM, "%s/%c%d", f->directory, 'a' + f->number, name);
}

void way_to(const struct file *f, char *path) {
  if (!f->orphan) return path_of(f, f->name, path);
  for (int k = 0; k < KINDS; k++) {
    if (f->fd[k] >= 0) snprintf(path, PATH_ROOM, "/proc/self/fd/%d", f->fd[k]);
  }
}

int fd_of(struct file *f, enum kind k) {
  char path[PATH_ROOM];
  if (f->fd[k] >= 0) return f->fd[k];
  way_to(f, path);
  f->fd[k] = open(path, FLAGS[k]);
  if (f->fd[k] < 0 && k == DIRECT && errno == EINVAL) has_direct = 0;
  else must("open", f->fd[k]);
  return f->fd[k];
}

int opened_how_many(const struct file *f) {
  int count = 0;
  for (int k = 0; k < KINDS; k++) count += f->fd[k] >= 0;
  return count;
}

void close_one(struct file *f, int k) {
  if (f->fd[k] < 0) return;
  must("close", close(f->fd[k]));
  f->fd[k] = -1;
}

void close_all(struct file *f) {
  for (int k = 0; k < KINDS; k++) close_one(f, k);
}

void write_back(int fd) {
  const int all = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  must("sync_file_range", sync_file_range(fd, 0, 0, all));
}

void unmap(struct file *f) {
  if (f->map != NULL) must("munmap", munmap(f->map, f->map_length));
  f->map = NULL;
}

/* Attributes. */

static int is_before(struct timespec a, struct timespec b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

struct timespec before_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME_COARSE, &t);
  t.tv_nsec -= CLOCKS_DIFFER_NS;
  if (t.tv_nsec < 0) t = (struct timespec){t.tv_sec - 1, t.tv_nsec + 1000000000};
  return t;
}

static void demand_times(struct timespec found, struct timespec bound, const char *what) {
  char text[200];
  if (!is_before(found, bound)) return;
  snprintf(text, sizeof text, "%s: modified at %lld.%09ld, and not at %lld.%09ld or later", what,
           (long long)found.tv_sec, found.tv_nsec, (long long)bound.tv_sec, bound.tv_nsec);
  fail(text);
}

/** Size, links and times, by a descriptor or by the name. */
static void check_attributes(struct file *f, int by_name, struct stat *st) {
  char path[PATH_ROOM];
  way_to(f, path);
  if (opened_how_many(f) == 0) by_name = 1;
  must("stat", by_name ? stat(path, st) : fstat(fd_of(f, f->fd[BOTH] >= 0 ? BOTH : READ), st));
  expect_count("st_size", st->st_size, f->size);
  expect_count("st_nlink", st->st_nlink, !f->orphan);
  demand_times(st->st_mtim, f->modified, "the time went back");
}

void changed(struct file *f, struct timespec begun) {
  struct stat st;
  if (chance(3)) return;
  check_attributes(f, chance(4), &st);
  demand_times(st.st_mtim, begun, "a change left the time");
  f->modified = st.st_mtim;
}

int check_stat(struct file *f) {
  struct stat st;
  note(f, "", 0, 0);
  check_attributes(f, chance(2), &st);
  f->modified = st.st_mtim;
  return 1;
}

/* The copy, and what is picked of it. */

void fill(uint8_t *bytes, size_t length) {
  uint64_t word = next() | 1;
  for (size_t i = 0; i < length; i += sizeof word) {
    word ^= word << 13, word ^= word >> 7, word ^= word << 17;
    memcpy(bytes + i, &word, sizeof word);
  }
}

void set_size(struct file *f, size_t size) {
  if (size < f->size) memset(f->bytes + size, 0, f->size - size);
  f->size = size;
}

void set_bytes(struct file *f, const uint8_t *bytes, size_t offset, size_t length) {
  memcpy(f->bytes + offset, bytes, length);
  f->size = most(f->size, offset + length);
}

/** A place near a border: a page, a sector, the packed size, a chunk. */
static size_t border(void) {
  static const size_t BORDERS[] = {0, 512, PAGE, 2 * PAGE, 64 * KIB, 64 * KIB, 64 * KIB, 68 * KIB, 128 * KIB,
                                   MIB, MIB, 2 * MIB, LARGEST};
  size_t at = BORDERS[below(sizeof BORDERS / sizeof *BORDERS)];
  size_t by = chance(3) ? 0 : 1 + below(chance(3) ? PAGE : 2);
  return chance(2) ? least(at + by, LARGEST) : at - least(by, at);
}

size_t some_size(void) {
  switch (below(6)) {
    case 0: return border();
    case 1: return below(LARGEST + 1);
    case 2: return below(3 * PAGE);
    default: return least(border(), 48 * KIB + below(64 * KIB));
  }
}

size_t some_length(void) {
  switch (below(16)) {
    case 0: return 1 + below(ONE_MAX);
    case 1: return PAGE * (1 + below(32));
    case 2: case 3: return 1 + below(96 * KIB);
    case 4: case 5: case 6: return 1 + below(16 * KIB);
    case 7: return 1 + below(8);
    default: return 1 + below(2 * PAGE);
  }
}

void pick(const struct file *f, size_t bound, size_t *offset, size_t *length) {
  switch (below(8)) {
    case 0: *offset = least(border(), bound); break;
    case 1: *offset = least(f->size, bound); break;
    case 2: *offset = least(f->size - least(f->size, below(2 * PAGE)), bound); break;
    case 3: *offset = least(PAGE * below(bound / PAGE + 1), bound); break;
    default: *offset = below(bound + 1);
  }
  *length = least(some_length(), LARGEST - *offset);
}

void pick_written(const struct file *f, size_t *offset, size_t *length) {
  size_t beyond = chance(64) ? LARGEST : f->size + below(8 * PAGE);
  pick(f, least(chance(3) ? beyond : f->size, LARGEST - PAGE), offset, length);
}
