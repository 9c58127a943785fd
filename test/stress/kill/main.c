/*
 * Clients that do mixed operations, each in a directory of its own, until they are told to end.
 *   kill DIR RECORDS SEED CLIENTS [HELD…]
 * DIR is made; RECORDS is a directory elsewhere, for `N.txt` of client N. HELD are files to be held open and read; of
 * those that have a size the bytes do not change. A line `kill` on the standard input says that a daemon is about to be
 * killed, `next` that another one has taken over, its end that the run is over: then everything is compared once more.
 * The output ends with `done`.
 */
#include "client.h"

#include <pthread.h>
#include <sys/file.h>
#include <sys/wait.h>

int kills, followers, is_ending, held_count;
struct held held[HELD_MAX];
static pthread_barrier_t begun;

static const struct operation *draw(struct client *c) {
  static const struct operation *const TABLES[] = {NAME_OPERATIONS, BYTE_OPERATIONS, HELD_OPERATIONS};
  int total = 0;
  for (int t = 0; t < 3; t++) {
    for (const struct operation *o = TABLES[t]; o->name; o++) total += o->weight;
  }
  int at = below(c, total);
  for (int t = 0;; t++) {
    for (const struct operation *o = TABLES[t]; o->name; o++) {
      if ((at -= o->weight) < 0) return o;
    }
  }
}

static void *run(void *argument) {
  struct client *c = argument;
  begin_held(c);
  pthread_barrier_wait(&begun);
  while (!__atomic_load_n(&is_ending, __ATOMIC_RELAXED)) {
    int now = __atomic_load_n(&followers, __ATOMIC_RELAXED);
    c->operations += 1;
    if (now != c->followers_seen) open_again(c), c->followers_seen = now;
    const struct operation *o = draw(c);
    c->operation = o->name;
    o->run(c);
  }
  c->operations += 1;
  check_all(c);
  fclose(c->records);
  return NULL;
}

/** Of all files that are held; the descriptors stay open to the end. */
static void hold(struct client *c, int count, char **paths) {
  for (held_count = 0; held_count < count && held_count < HELD_MAX; held_count++) {
    struct held *h = &held[held_count];
    struct stat st;
    h->path = paths[held_count];
    c->operation = h->path;
    must(c, h->fd = CALL(c, "open", open(h->path, O_RDONLY)));
    must(c, CALL(c, "fstat", fstat(h->fd, &st)));
    h->size = st.st_size;
    h->bytes = malloc(h->size + 1);
    expect_count(c, CALL(c, "pread", pread(h->fd, h->bytes, h->size, 0)), h->size);
  }
}

struct locked {
  int whole, range;
};

static struct locked take_locks(struct client *c) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10};
  struct locked l;
  c->operation = "lock";
  must(c, l.whole = open("flock", O_CREAT | O_RDWR, 0644));
  must(c, l.range = open("fcntl", O_CREAT | O_RDWR, 0644));
  must(c, CALL(c, "flock", flock(l.whole, LOCK_EX | LOCK_NB)));
  must(c, CALL(c, "fcntl", fcntl(l.range, F_SETLK, &lock)));
  return l;
}

/** Another process does not get them, and gets them when they are let go. */
static void check_locks(struct client *c, struct locked l) {
  c->operation = "locks";
  for (int is_free = 0; is_free < 2; is_free++) {
    int status;
    pid_t child = fork();
    if (child == 0) {
      struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 19, .l_len = 1};
      int whole = open("flock", O_RDWR), range = open("fcntl", O_RDWR);
      int has_whole = flock(whole, LOCK_EX | LOCK_NB) == 0, has_range = fcntl(range, F_SETLK, &lock) == 0;
      _exit(has_whole == is_free && has_range == is_free ? 0 : 1);
    }
    must(c, waitpid(child, &status, 0));
    if (status != 0) fail(c, is_free ? "one that was let go is held" : "one that was held is not");
    if (is_free) return;
    must(c, close(l.whole));
    must(c, close(l.range));
  }
}

int main(int argc, char **argv) {
  if (argc < 5) return fprintf(stderr, "kill DIR RECORDS SEED CLIENTS [HELD...]\n"), 2;
  int count = atoi(argv[4]);
  struct client *clients = calloc(count, sizeof *clients), whole = {.number = -1, .operation = "begin", .call = ""};
  pthread_t threads[count];
  char line[64], path[PATH_ROOM];
  setvbuf(stdout, NULL, _IOLBF, 0);
  must(&whole, mkdir(argv[1], 0755));
  hold(&whole, argc - 5, argv + 5);
  must(&whole, chdir(argv[1]));
  struct locked locks = take_locks(&whole);
  for (int i = 0; i < count; i++) {
    struct client *c = &clients[i];
    c->number = i;
    c->state = strtoull(argv[3], NULL, 10) * 1000003 + i + 1;
    c->operation = c->call = "begin";
    snprintf(path, sizeof path, "%s/%d.txt", argv[2], i);
    if ((c->records = fopen(path, "w")) == NULL || (c->block = malloc(ONE_MAX + 8)) == NULL) fail(c, "%s", path);
    snprintf(path, sizeof path, "client%d", i);
    must(c, mkdir(path, 0755));
    snprintf(c->root, sizeof c->root, "client%d/tree", i);
    must(c, mkdir(c->root, 0755));
  }
  pthread_barrier_init(&begun, NULL, count + 1);
  for (int i = 0; i < count; i++) pthread_create(&threads[i], NULL, run, &clients[i]);
  pthread_barrier_wait(&begun);
  printf("begun\n");
  while (fgets(line, sizeof line, stdin) != NULL) {
    __atomic_add_fetch(*line == 'k' ? &kills : &followers, 1, __ATOMIC_RELAXED);
  }
  __atomic_store_n(&is_ending, 1, __ATOMIC_RELAXED);
  for (int i = 0; i < count; i++) {
    struct client *c = &clients[i];
    pthread_join(threads[i], NULL);
    printf("client %d: operations %ld, opened again %ld, over %d ms %ld, worst %.0f ms in %s of %s, kills %d after %d\n",
           i, c->operations, c->reopened, LONG_MS, c->long_calls, c->worst_ms, c->worst_call, c->worst_operation,
           c->worst_kills, c->worst_after);
  }
  check_locks(&whole, locks);
  printf("done\n");
  return 0;
}
