/* Operations on bytes. */
#include "client.h"

/** Around the sizes at which content is stored otherwise. */
static size_t some_length(struct client *c) {
  static const size_t LENGTHS[] = {1, 10, 100, 4096, 5000, 70000, ONE_MAX};
  return LENGTHS[below(c, sizeof LENGTHS / sizeof *LENGTHS)];
}

static void fill(struct client *c, size_t length) {
  uint64_t words = next(c);
  for (size_t i = 0; i < length; i += sizeof words) {
    memcpy(c->block + i, &words, sizeof words);
    words = words * 6364136223846793005ULL + 1;
  }
}

static void open_one(struct client *c) {
  char path[PATH_ROOM], below_[PATH_ROOM];
  struct node *node = some_node(c, FILE_NODE);
  if (node == NULL || c->handle_count == HANDLES_MAX) return;
  int appends = chance(c, 3), is_cut = chance(c, 6);
  struct timespec begun = before_now();
  note(c, "%s%s%s", path_below(node, below_), appends ? " appends" : "", is_cut ? " cut" : "");
  int flags = O_RDWR | (appends ? O_APPEND : 0) | (is_cut ? O_TRUNC : 0);
  int fd = CALL(c, "open", open(path_of(c, node, path), flags));
  must(c, fd);
  add_handle(c, fd, node->file, appends);
  if (!is_cut) return;
  set_size(node->file, 0);
  changed(c, &c->handles[c->handle_count - 1], begun);
}

static void close_one(struct client *c) {
  struct handle *h = some_handle(c);
  if (h == NULL) return;
  note(c, "%d of %d", (int)(h - c->handles), c->handle_count);
  must(c, CALL(c, "close", close(h->fd)));
  h->file->users -= 1;
  release(h->file);
  *h = c->handles[--c->handle_count];
}

static void write_some(struct client *c) {
  struct handle *h = some_handle(c);
  if (h == NULL) return;
  size_t length = some_length(c), offset = h->appends ? h->file->size : below(c, h->file->size + 100);
  if (offset + length > LARGEST) return;
  struct timespec begun = before_now();
  fill(c, length);
  note(c, "%zu at %zu%s", length, offset, h->appends ? ", appended" : "");
  ssize_t count = h->appends ? CALL(c, "write", write(h->fd, c->block, length))
                             : CALL(c, "pwrite", pwrite(h->fd, c->block, length, offset));
  expect_count(c, count, length);
  set_bytes(h->file, c->block, offset, length);
  changed(c, h, begun);
}

static void read_some(struct client *c) {
  struct handle *h = some_handle(c);
  if (h == NULL) return;
  size_t offset = below(c, h->file->size + 1), length = some_length(c);
  size_t expected = least(length, h->file->size - offset);
  note(c, "%zu at %zu", length, offset);
  expect_count(c, CALL(c, "pread", pread(h->fd, c->block, length, offset)), expected);
  check_bytes(c, h->file, c->block, offset, expected);
}

static void resize(struct client *c) {
  struct handle *h = some_handle(c);
  if (h == NULL) return;
  size_t size = chance(c, 4) ? 0 : least(LARGEST, below(c, h->file->size + 10 * KIB));
  struct timespec begun = before_now();
  note(c, "%zu to %zu", h->file->size, size);
  must(c, CALL(c, "ftruncate", ftruncate(h->fd, size)));
  int is_same = size == h->file->size;
  set_size(h->file, size);
  if (!is_same) changed(c, h, begun);
}

static void allocate(struct client *c) {
  static const int MODES[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
                              FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
  struct handle *h = some_handle(c);
  if (h == NULL) return;
  int mode = MODES[below(c, 4)];
  size_t offset = below(c, h->file->size + KIB), length = some_length(c), end = offset + length;
  if (end > LARGEST) return;
  note(c, "mode %d, %zu at %zu", mode, length, offset);
  must(c, CALL(c, "fallocate", fallocate(h->fd, mode, offset, length)));
  if (mode & (FALLOC_FL_ZERO_RANGE | FALLOC_FL_PUNCH_HOLE) && offset < h->file->size) {
    memset(h->file->bytes + offset, 0, least(length, h->file->size - offset));
  }
  if (!(mode & FALLOC_FL_KEEP_SIZE) && end > h->file->size) set_size(h->file, end);
}

static void copy_range(struct client *c) {
  struct handle *from = some_handle(c), *to = some_handle(c);
  if (from == NULL || from->file == to->file || to->appends || from->file->size == 0) return;
  off_t in = below(c, from->file->size), out = below(c, to->file->size + 100);
  size_t length = least(some_length(c), from->file->size - in);
  if (out + length > LARGEST) return;
  size_t source = in, target = out;
  note(c, "%zu from %zu to %zu", length, source, target);
  ssize_t count = CALL(c, "copy_file_range", copy_file_range(from->fd, &in, to->fd, &out, length, 0));
  must(c, count);
  if (count == 0 || (size_t)count > length) fail(c, "%zd bytes are copied of %zu", count, length);
  set_bytes(to->file, from->file->bytes + source, target, count);
}

static void map_one(struct client *c) {
  struct handle *h = some_handle(c);
  if (h == NULL || h->file->size == 0 || c->mapping_count == MAPPINGS_MAX) return;
  size_t length = h->file->size;
  note(c, "%zu", length);
  uint8_t *at = CALL(c, "mmap", mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, h->fd, 0));
  if (at == MAP_FAILED) fail(c, "%s", strerror(errno));
  h->file->users += 1;
  c->mappings[c->mapping_count++] = (struct mapping){at, length, h->file};
}

static void unmap_one(struct client *c) {
  if (c->mapping_count == 0) return;
  struct mapping *m = &c->mappings[below(c, c->mapping_count)];
  note(c, "%zu", m->length);
  must(c, CALL(c, "munmap", munmap(m->at, m->length)));
  m->file->users -= 1;
  release(m->file);
  *m = c->mappings[--c->mapping_count];
}

/** The file may be closed, and without a name. */
static void write_mapped(struct client *c) {
  if (c->mapping_count == 0) return;
  struct mapping *m = &c->mappings[below(c, c->mapping_count)];
  size_t end = least(m->length, m->file->size), offset = below(c, end), length = least(some_length(c), end - offset);
  int is_synced = chance(c, 3);
  if (length == 0) return;
  fill(c, length);
  note(c, "%zu at %zu%s", length, offset, is_synced ? ", synced" : "");
  CALL(c, "write mapped", memcpy(m->at + offset, c->block, length));
  set_bytes(m->file, c->block, offset, length);
  if (is_synced) must(c, CALL(c, "msync", msync(m->at, m->length, MS_SYNC)));
}

static void read_mapped(struct client *c) {
  if (c->mapping_count == 0) return;
  struct mapping *m = &c->mappings[below(c, c->mapping_count)];
  size_t end = least(m->length, m->file->size), offset = below(c, end), length = least(some_length(c), end - offset);
  note(c, "%zu at %zu", length, offset);
  CALL(c, "read mapped", memcpy(c->block, m->at + offset, length));
  check_bytes(c, m->file, c->block, offset, length);
}

static void synchronise(struct client *c) {
  struct handle *h = some_handle(c);
  if (h == NULL) return;
  int is_whole = chance(c, 2);
  note(c, "%s", is_whole ? "fsync" : "fdatasync");
  must(c, is_whole ? CALL(c, "fsync", fsync(h->fd)) : CALL(c, "fdatasync", fdatasync(h->fd)));
}

const struct operation BYTE_OPERATIONS[] = {
    {"open", 8, open_one},     {"close", 9, close_one},      {"write", 16, write_some}, {"read", 8, read_some},
    {"resize", 5, resize},     {"allocate", 4, allocate},    {"copy range", 4, copy_range}, {"map", 3, map_one},
    {"unmap", 3, unmap_one},   {"write mapped", 6, write_mapped}, {"read mapped", 4, read_mapped},
    {"sync", 2, synchronise}, {NULL, 0, NULL},
};
