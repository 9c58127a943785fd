/* The copy in memory, and how an answer is held against it. */
#include "client.h"

#include <dirent.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/xattr.h>

/** By what a coarse clock of the kernel may be behind a fine one. */
enum { CLOCKS_DIFFER_NS = 20 * 1000 * 1000 };

/** xorshift64*, Vigna 2016. */
uint64_t next(struct client *c) {
  c->state ^= c->state >> 12;
  c->state ^= c->state << 25;
  c->state ^= c->state >> 27;
  return c->state * 0x2545f4914f6cdd1dULL;
}

size_t below(struct client *c, size_t bound) { return bound == 0 ? 0 : (next(c) >> 11) % bound; }

void note(struct client *c, const char *format, ...) {
  va_list words;
  char *line = c->last[c->operations % LAST];
  int length = snprintf(line, sizeof *c->last, "%ld %s ", c->operations, c->operation);
  va_start(words, format);
  vsnprintf(line + length, sizeof *c->last - length, format, words);
  va_end(words);
}

void record(struct client *c, const char *format, ...) {
  va_list words;
  va_start(words, format);
  vfprintf(c->records, format, words);
  va_end(words);
  fputc('\n', c->records);
}

void fail(struct client *c, const char *format, ...) {
  static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER;
  char text[400];
  va_list words;
  va_start(words, format);
  vsnprintf(text, sizeof text, format, words);
  va_end(words);
  pthread_mutex_lock(&first);
  printf("WRONG: client %d, operation %ld (%s, %s), after %d kills: %s\n", c->number, c->operations, c->operation,
         c->call, kills, text);
  for (long i = c->operations < LAST ? 0 : c->operations - LAST + 1; i <= c->operations; i++) {
    printf("  %s\n", c->last[i % LAST]);
  }
  fflush(stdout);
  fflush(c->records);
  _exit(1);
}

void must(struct client *c, long result) {
  if (result < 0) fail(c, "%s", strerror(errno));
}

void must_refuse(struct client *c, long result, int error) {
  if (result >= 0) fail(c, "it succeeds, and not: %s", strerror(error));
  if (errno != error) fail(c, "%s, and not: %s", strerror(errno), strerror(error));
}

void expect_count(struct client *c, ssize_t count, size_t expected) {
  must(c, count);
  if ((size_t)count != expected) fail(c, "%zd, and not %zu", count, expected);
}

void begin_call(struct client *c, const char *call) {
  c->call = call;
  c->kills_before = __atomic_load_n(&kills, __ATOMIC_RELAXED);
  clock_gettime(CLOCK_MONOTONIC, &c->called);
}

void end_call(struct client *c) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  double ms = (now.tv_sec - c->called.tv_sec) * 1e3 + (now.tv_nsec - c->called.tv_nsec) / 1e6;
  int during = __atomic_load_n(&kills, __ATOMIC_RELAXED) - c->kills_before;
  if (during > 1) ms /= during;
  if (ms > LONG_MS) c->long_calls++;
  if (ms <= c->worst_ms) return;
  c->worst_ms = ms;
  c->worst_kills = during;
  c->worst_after = c->kills_before;
  c->worst_operation = c->operation;
  c->worst_call = c->call;
}

struct file *add_file(struct client *c, mode_t mode) {
  struct file *file = calloc(1, sizeof *file);
  if (file == NULL || (file->bytes = calloc(1, LARGEST)) == NULL) fail(c, "no memory");
  file->mode = mode;
  return file;
}

void release(struct file *file) {
  if (file->links > 0 || file->users > 0) return;
  free(file->bytes);
  free(file);
}

struct node *add_node(struct client *c, enum kind kind, struct node *parent) {
  struct node *node = calloc(1, sizeof *node);
  if (node == NULL) fail(c, "no memory");
  node->kind = kind;
  node->parent = parent;
  new_name(c, node->name);
  c->nodes[c->node_count++] = node;
  return node;
}

void remove_node(struct client *c, struct node *node) {
  int i = 0;
  while (c->nodes[i] != node) i++;
  c->nodes[i] = c->nodes[--c->node_count];
  if (node->file != NULL) {
    node->file->links -= 1;
    release(node->file);
  }
  free(node);
}

void new_name(struct client *c, char *into) { snprintf(into, NAME_ROOM, "n%d", c->made++); }

/** The bytes behind the end are zeros, always. */
void set_size(struct file *file, size_t size) {
  if (size < file->size) memset(file->bytes + size, 0, file->size - size);
  file->size = size;
}

void set_bytes(struct file *file, const uint8_t *bytes, size_t offset, size_t length) {
  memcpy(file->bytes + offset, bytes, length);
  if (offset + length > file->size) file->size = offset + length;
}

struct node *some_node(struct client *c, enum kind kind) {
  struct node *found = NULL;
  int count = 0;
  for (int i = 0; i < c->node_count; i++) {
    if (c->nodes[i]->kind == kind && chance(c, ++count)) found = c->nodes[i];
  }
  return found;
}

int depth(const struct node *node) { return node == NULL ? 0 : 1 + depth(node->parent); }

struct node *some_parent(struct client *c) {
  struct node *parent = chance(c, 3) ? NULL : some_node(c, DIRECTORY_NODE);
  return depth(parent) < DEPTH_MAX ? parent : NULL;
}

int is_below(const struct node *node, const struct node *above) {
  return node != NULL && (node == above || is_below(node->parent, above));
}

int children(struct client *c, const struct node *parent) {
  int count = 0;
  for (int i = 0; i < c->node_count; i++) count += c->nodes[i]->parent == parent;
  return count;
}

struct handle *some_handle(struct client *c) {
  return c->handle_count == 0 ? NULL : &c->handles[below(c, c->handle_count)];
}

void add_handle(struct client *c, int fd, struct file *file, int appends) {
  file->users += 1;
  c->handles[c->handle_count++] = (struct handle){.fd = fd, .appends = appends, .file = file};
}

char *path_below(const struct node *node, char *into) {
  if (node == NULL) return *into = 0, into;
  path_below(node->parent, into);
  size_t length = strlen(into);
  snprintf(into + length, PATH_ROOM - length, "/%s", node->name);
  return into;
}

char *path_of(struct client *c, const struct node *node, char *into) {
  int length = snprintf(into, PATH_ROOM, "%s", c->root);
  path_below(node, into + length);
  return into;
}

static int is_before(struct timespec a, struct timespec b) {
  return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

struct timespec before_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME_COARSE, &t);
  t.tv_nsec -= CLOCKS_DIFFER_NS;
  if (t.tv_nsec < 0) t = (struct timespec){t.tv_sec - 1, t.tv_nsec + 1000000000};
  return t;
}

static void check_time(struct client *c, struct timespec found, struct timespec bound) {
  if (!is_before(found, bound)) return;
  fail(c, "modified at %lld.%09ld, and not at %lld.%09ld or later", (long long)found.tv_sec, found.tv_nsec,
       (long long)bound.tv_sec, bound.tv_nsec);
}

void check_bytes(struct client *c, struct file *file, const uint8_t *found, size_t offset, size_t length) {
  if (memcmp(found, file->bytes + offset, length) == 0) return;
  size_t i = 0, wrong = 0;
  while (found[i] == file->bytes[offset + i]) i++;
  for (size_t j = i; j < length; j++) wrong += found[j] != file->bytes[offset + j];
  fail(c, "byte %zu is %02x, and not %02x; of %zu bytes from %zu on %zu differ; the file has %zu", offset + i,
       found[i], file->bytes[offset + i], length, offset, wrong, file->size);
}

void check_stat(struct client *c, struct file *file, const struct stat *found) {
  if ((size_t)found->st_size != file->size) {
    fail(c, "st_size is %lld, and not %zu", (long long)found->st_size, file->size);
  }
  if (found->st_nlink != (nlink_t)file->links) {
    fail(c, "st_nlink is %ld, and not %d", (long)found->st_nlink, file->links);
  }
  if (found->st_mode != (S_IFREG | file->mode)) fail(c, "st_mode is %o, and not %o", found->st_mode, file->mode);
  if (file->number == 0) file->number = found->st_ino;
  if (found->st_ino != file->number) fail(c, "st_ino is %lu, and not %lu", found->st_ino, file->number);
  check_time(c, found->st_mtim, file->modified);
  file->modified = found->st_mtim;
}

void changed(struct client *c, struct handle *handle, struct timespec begun) {
  struct stat st;
  if (chance(c, 3)) return;
  must(c, CALL(c, "fstat", fstat(handle->fd, &st)));
  check_stat(c, handle->file, &st);
  check_time(c, st.st_mtim, begun);
}

static void check_value(struct client *c, const struct node *node, const char *path) {
  char value[VALUE_ROOM];
  ssize_t length = CALL(c, "getxattr", getxattr(path, "user.x", value, sizeof value));
  if (*node->file->value == 0) {
    must_refuse(c, length, ENODATA);
    return;
  }
  expect_count(c, length, strlen(node->file->value));
  if (memcmp(value, node->file->value, length) != 0) fail(c, "user.x is not %s", node->file->value);
}

/** All there is to know of one name. */
void check_node(struct client *c, struct node *node) {
  char path[PATH_ROOM], target[NAME_ROOM];
  struct stat st;
  path_of(c, node, path);
  must(c, CALL(c, "lstat", lstat(path, &st)));
  if (node->kind == LINK_NODE) {
    expect_count(c, CALL(c, "readlink", readlink(path, target, sizeof target)), strlen(node->target));
    if (memcmp(target, node->target, strlen(node->target)) != 0) fail(c, "%s leads elsewhere", path);
    return;
  }
  if (node->kind == DIRECTORY_NODE) {
    int directories = 0;
    for (int i = 0; i < c->node_count; i++) {
      directories += c->nodes[i]->parent == node && c->nodes[i]->kind == DIRECTORY_NODE;
    }
    if (node->number == 0) node->number = st.st_ino;
    if (st.st_ino != node->number) fail(c, "%s: st_ino is %lu", path, st.st_ino);
    if (st.st_mode != (S_IFDIR | node->mode)) fail(c, "%s: st_mode is %o", path, st.st_mode);
    if (st.st_nlink != (nlink_t)directories + 2) fail(c, "%s: st_nlink is %ld", path, (long)st.st_nlink);
    return;
  }
  check_stat(c, node->file, &st);
  check_value(c, node, path);
}

void check_listing(struct client *c, const struct node *directory) {
  char path[PATH_ROOM];
  int found = 0;
  DIR *stream = CALL(c, "opendir", opendir(path_of(c, directory, path)));
  if (stream == NULL) fail(c, "%s: %s", path, strerror(errno));
  for (;;) {
    errno = 0;
    struct dirent *entry = CALL(c, "readdir", readdir(stream));
    if (entry == NULL && errno != 0) fail(c, "%s: %s", path, strerror(errno));
    if (entry == NULL) break;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    int i = 0;
    while (i < c->node_count && (c->nodes[i]->parent != directory || strcmp(c->nodes[i]->name, entry->d_name) != 0)) {
      i++;
    }
    if (i == c->node_count) fail(c, "%s lists %s, which is not there", path, entry->d_name);
    found += 1;
  }
  if (found != children(c, directory)) fail(c, "%s lists %d names, and not %d", path, found, children(c, directory));
  must(c, CALL(c, "closedir", closedir(stream)));
}

static void check_whole(struct client *c, int fd, struct file *file) {
  for (size_t at = 0;;) {
    ssize_t count = CALL(c, "pread", pread(fd, c->block, ONE_MAX, at));
    expect_count(c, count, least(ONE_MAX, file->size - at));
    if (count == 0) return;
    check_bytes(c, file, c->block, at, count);
    at += count;
  }
}

/** The whole tree, and what is open of it. */
void check_all(struct client *c) {
  char path[PATH_ROOM];
  c->operation = "control";
  check_listing(c, NULL);
  for (int i = 0; i < c->node_count; i++) {
    struct node *node = c->nodes[i];
    note(c, "%s", path_below(node, path));
    check_node(c, node);
    if (node->kind == DIRECTORY_NODE) check_listing(c, node);
    if (node->kind != FILE_NODE) continue;
    int fd = CALL(c, "open", open(path_of(c, node, path), O_RDONLY));
    must(c, fd);
    check_whole(c, fd, node->file);
    must(c, CALL(c, "close", close(fd)));
  }
  for (int i = 0; i < c->handle_count; i++) {
    struct stat st;
    note(c, "handle %d", i);
    must(c, CALL(c, "fstat", fstat(c->handles[i].fd, &st)));
    check_stat(c, c->handles[i].file, &st);
    check_whole(c, c->handles[i].fd, c->handles[i].file);
  }
  for (int i = 0; i < c->mapping_count; i++) {
    note(c, "mapping %d", i);
    struct mapping *m = &c->mappings[i];
    check_bytes(c, m->file, m->at, 0, least(m->length, m->file->size));
  }
}
