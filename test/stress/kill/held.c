/* What is held over all kills: a directory that is being read, locks, files by CID, files that tell the state. */
#include "client.h"

#include <dirent.h>
#include <sys/syscall.h>

static void read_directory_on(struct client *c);
static void read_held(struct client *c);
static void change_many(struct client *c);

const struct operation HELD_OPERATIONS[] = {
    {"read directory on", 6, read_directory_on},
    {"change directory", 2, change_many},
    {"read held", 4, read_held},
    {NULL, 0, NULL},
};

static char *path_beside(struct client *c, const char *name, char *into) {
  snprintf(into, PATH_ROOM, "client%d/%s", c->number, name);
  return into;
}

void begin_held(struct client *c) {
  char path[PATH_ROOM], name[PATH_ROOM + NAME_ROOM];
  c->operation = "begin";
  must(c, CALL(c, "mkdir", mkdir(path_beside(c, "many", path), 0755)));
  for (int i = 0; i < MANY; i++) {
    snprintf(name, sizeof name, "%s/fixed%d", path, i);
    int fd = CALL(c, "open", open(name, O_CREAT | O_EXCL | O_WRONLY, 0644));
    must(c, fd);
    must(c, CALL(c, "close", close(fd)));
  }
  must(c, c->many = CALL(c, "open", open(path, O_RDONLY | O_DIRECTORY)));
}

static void end_round(struct client *c) {
  for (int i = 0; i < MANY; i++) {
    if (!c->seen[i]) fail(c, "fixed%d was not listed", i);
  }
  memset(c->seen, 0, sizeof c->seen);
  must(c, CALL(c, "lseek", lseek(c->many, 0, SEEK_SET)));
}

/** A few names more; those that are there throughout appear once. */
static void read_directory_on(struct client *c) {
  char entries[1024];
  note(c, "%s", "");
  long count = CALL(c, "getdents64", syscall(SYS_getdents64, c->many, entries, sizeof entries));
  must(c, count);
  for (long at = 0; at < count;) {
    struct dirent64 *entry = (struct dirent64 *)(entries + at);
    int number;
    at += entry->d_reclen;
    if (sscanf(entry->d_name, "fixed%d", &number) != 1) continue;
    if (number < 0 || number >= MANY || c->seen[number]) fail(c, "%s is listed again", entry->d_name);
    c->seen[number] = 1;
  }
  if (count == 0) end_round(c);
}

static void change_many(struct client *c) {
  char path[PATH_ROOM], name[PATH_ROOM + NAME_ROOM];
  int number = below(c, 20);
  snprintf(name, sizeof name, "%s/passing%d", path_beside(c, "many", path), number);
  note(c, "%d", number);
  int fd = CALL(c, "open", open(name, O_CREAT | O_EXCL | O_WRONLY, 0644));
  if (fd < 0 && errno == EEXIST) must(c, CALL(c, "unlink", unlink(name)));
  else must(c, fd), must(c, CALL(c, "close", close(fd)));
}

/** Immutable bytes are what they were; what changes is told in one piece. */
static void read_held(struct client *c) {
  struct held *h = &held[below(c, held_count)];
  size_t offset = h->size == 0 ? 0 : below(c, h->size), length = h->size == 0 ? ONE_MAX : 1 + below(c, 64 * KIB);
  int is_anew = chance(c, 3), fd = h->fd;
  note(c, "%s%s, %zu at %zu", h->path, is_anew ? " anew" : "", length, offset);
  if (is_anew) must(c, fd = CALL(c, "open", open(h->path, O_RDONLY)));
  ssize_t count = CALL(c, "pread", pread(fd, c->block, length, offset));
  must(c, count);
  if (h->size == 0) {
    if (count < 3 || c->block[0] != '{' || c->block[count - 1] != '\n') fail(c, "not an object, %zd bytes", count);
  } else {
    expect_count(c, count, least(length, h->size - offset));
    if (memcmp(c->block, h->bytes + offset, count) != 0) fail(c, "%s is not what it was", h->path);
  }
  if (is_anew) must(c, CALL(c, "close", close(fd)));
}

void open_again(struct client *c) {
  char path[PATH_ROOM];
  for (int i = 0; i < c->handle_count; i++) {
    struct handle *h = &c->handles[i];
    struct node *node = NULL;
    for (int j = 0; j < c->node_count && node == NULL; j++) {
      if (c->nodes[j]->file == h->file) node = c->nodes[j];
    }
    if (node == NULL) continue;
    c->operation = "open again";
    note(c, "%s", path_below(node, path));
    int fd = CALL(c, "open", open(path_of(c, node, path), chance(c, 2) ? O_RDWR : O_RDONLY));
    must(c, fd);
    size_t offset = below(c, h->file->size), length = least(4 * KIB, h->file->size - offset);
    expect_count(c, CALL(c, "pread", pread(fd, c->block, length, offset)), length);
    check_bytes(c, h->file, c->block, offset, length);
    must(c, CALL(c, "close", close(fd)));
    c->reopened += 1;
  }
}
