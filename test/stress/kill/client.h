/*
 * One client of the file system, and what it knows: its tree, its open files and its mappings, in memory. Every answer
 * of the file system is held against that copy; what differs, or fails, ends the program with the last operations.
 *
 * Nothing here is random but what `next` gives. Clients are threads that share nothing but the file system.
 */
#ifndef CLIENT_H
#define CLIENT_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/** A pause that a program is not to see. */
enum { LONG_MS = 500 };

enum {
  KIB = 1024,
  /** No file grows beyond LARGEST, and no operation moves more than ONE_MAX bytes. */
  LARGEST = 1024 * KIB,
  ONE_MAX = 200 * KIB,
  PATH_ROOM = 1024,
  NAME_ROOM = 32,
  VALUE_ROOM = 32,
  NODES_MAX = 80,
  HANDLES_MAX = 24,
  MAPPINGS_MAX = 6,
  DEPTH_MAX = 4,
  /** Names in the directory that is read while it is held open. */
  MANY = 300,
  LAST = 16,
};

/** A file: there as long as it has a name or is open. */
struct file {
  uint8_t *bytes;
  size_t size;
  mode_t mode;
  /** 0 before it is known. */
  ino_t number;
  /** Names, and handles and mappings. */
  int links, users;
  /** The newest time that was seen. */
  struct timespec modified;
  /** Of user.x; empty: there is none. */
  char value[VALUE_ROOM];
};

enum kind { FILE_NODE, DIRECTORY_NODE, LINK_NODE };

/** A name. */
struct node {
  enum kind kind;
  char name[NAME_ROOM];
  /** NULL: the client's root. */
  struct node *parent;
  struct file *file;
  /** Of a directory; the number is 0 before it is known. */
  mode_t mode;
  ino_t number;
  char target[NAME_ROOM];
};

struct handle {
  int fd, appends;
  struct file *file;
};

/** A shared mapping; it may reach beyond the end, where nothing is touched. */
struct mapping {
  uint8_t *at;
  size_t length;
  struct file *file;
};

struct client {
  int number;
  uint64_t state;
  /** Its tree; beside it lie `many` and the files held for their locks. */
  char root[NAME_ROOM];
  struct node *nodes[NODES_MAX];
  int node_count, made;
  struct handle handles[HANDLES_MAX];
  int handle_count;
  struct mapping mappings[MAPPINGS_MAX];
  int mapping_count;
  uint8_t *block;
  /** The directory that is held open, and which of its names have been seen in this round. */
  int many;
  uint8_t seen[MANY];
  /** What changed a name or an attribute, one a line, in order: the journal must say the same. */
  FILE *records;
  /** Calls that took more than LONG_MS. */
  long operations, reopened, long_calls;
  int followers_seen;
  /** The system call in hand, and how many daemons had been killed when it began. */
  const char *operation, *call;
  struct timespec called;
  int kills_before;
  /** The longest one; of one during which several were killed, its share of each. */
  double worst_ms;
  int worst_kills, worst_after;
  const char *worst_operation, *worst_call;
  char last[LAST][160];
};

/** How many daemons were killed so far, how many have taken over, and whether to come to an end. */
extern int kills, followers, is_ending;
/** Files that others made, held open by all clients. */
enum { HELD_MAX = 8 };
struct held {
  const char *path;
  int fd;
  uint8_t *bytes;
  /** 0: what it shows changes. */
  size_t size;
};
extern struct held held[HELD_MAX];
extern int held_count;

uint64_t next(struct client *c);
/** A number below `bound`; 0 when there is none. */
size_t below(struct client *c, size_t bound);
static inline int chance(struct client *c, size_t of) { return below(c, of) == 0; }
static inline size_t least(size_t a, size_t b) { return a < b ? a : b; }

__attribute__((format(printf, 2, 3))) void note(struct client *c, const char *format, ...);
__attribute__((format(printf, 2, 3))) void record(struct client *c, const char *format, ...);
__attribute__((format(printf, 2, 3), noreturn)) void fail(struct client *c, const char *format, ...);
/** Ends the program when the system call failed. */
void must(struct client *c, long result);
/** Ends the program unless the system call failed with that error. */
void must_refuse(struct client *c, long result, int error);
void expect_count(struct client *c, ssize_t count, size_t expected);

void begin_call(struct client *c, const char *call);
void end_call(struct client *c);
/** The value of a system call, of which the time is taken. */
#define CALL(c, name, expression)            \
  ({                                         \
    begin_call(c, name);                     \
    __typeof__(expression) value_ = (expression); \
    int error_ = errno;                      \
    end_call(c);                             \
    errno = error_;                          \
    value_;                                  \
  })

/** Files, names and handles of the copy. */
struct file *add_file(struct client *c, mode_t mode);
struct node *add_node(struct client *c, enum kind kind, struct node *parent);
void remove_node(struct client *c, struct node *node);
void release(struct file *file);
void set_size(struct file *file, size_t size);
void set_bytes(struct file *file, const uint8_t *bytes, size_t offset, size_t length);
struct node *some_node(struct client *c, enum kind kind);
/** A directory for one more name, not too deep; NULL: the root. */
struct node *some_parent(struct client *c);
struct handle *some_handle(struct client *c);
void add_handle(struct client *c, int fd, struct file *file, int appends);
int children(struct client *c, const struct node *parent);
int is_below(const struct node *node, const struct node *above);
int depth(const struct node *node);
/** Below the root of the client. */
char *path_below(const struct node *node, char *into);
char *path_of(struct client *c, const struct node *node, char *into);
void new_name(struct client *c, char *into);

/** Comparisons. */
void check_bytes(struct client *c, struct file *file, const uint8_t *found, size_t offset, size_t length);
void check_stat(struct client *c, struct file *file, const struct stat *found);
void check_node(struct client *c, struct node *node);
void check_listing(struct client *c, const struct node *directory);
void check_all(struct client *c);
/** A change that began then is not older. */
void changed(struct client *c, struct handle *handle, struct timespec begun);
struct timespec before_now(void);

struct operation {
  const char *name;
  int weight;
  void (*run)(struct client *);
};
extern const struct operation NAME_OPERATIONS[], BYTE_OPERATIONS[], HELD_OPERATIONS[];

void begin_held(struct client *c);
void end_held(struct client *c);
/** Every file that is still open is opened again by its name. */
void open_again(struct client *c);

#endif
