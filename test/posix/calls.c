/*
 * System calls that Node lacks, for the table of POSIX cases: mappings, locks, exec, positions in directories, file
 * handles. Told one call a line on standard input, words apart by spaces, bytes and paths in hexadecimal ("-" when
 * empty); answers "ok VALUE...", "err ERRNO" or "signal NUMBER", a line each. Ends with its input.
 *
 * Descriptors are those of the kernel; mappings and directories are numbered from 0. Built by calls.ts.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX 12
#define LINE_BYTES_MAX (1 << 22)
#define THINGS_MAX 64
#define PAGE 4096

static char *words[WORDS_MAX];
static int word_count;
static struct { char *at; size_t length; } maps[THINGS_MAX];
static DIR *directories[THINGS_MAX];
static int map_count, directory_count;
static sigjmp_buf fault;

static long long number(int i) { return i < word_count ? strtoll(words[i], NULL, 0) : 0; }

/* Decodes in place, and ends with NUL; the length goes to `length` when that is wanted. */
static char *bytes(int i, size_t *length) {
  char *text = i < word_count ? words[i] : "-";
  size_t n = strcmp(text, "-") == 0 ? 0 : strlen(text) / 2;
  for (size_t k = 0; k < n; k++) {
    unsigned value = 0;
    sscanf(text + 2 * k, "%2x", &value);
    text[k] = (char)value;
  }
  if (strcmp(text, "-") == 0) text = "";
  else text[n] = 0;
  if (length != NULL) *length = n;
  return text;
}

static void say_bytes(const char *at, size_t n) {
  printf("ok ");
  if (n == 0) printf("-");
  for (size_t i = 0; i < n; i++) printf("%02x", (unsigned char)at[i]);
  printf("\n");
}

static void say(long long result) {
  if (result < 0) printf("err %d\n", errno);
  else printf("ok %lld\n", result);
}

/* Aligned, as O_DIRECT wants it. */
static char *aligned(size_t n) {
  void *at = NULL;
  if (posix_memalign(&at, PAGE, n < PAGE ? PAGE : n) != 0) exit(3);
  return at;
}

/* as UID GID: really, so that access(2) takes it; root stays saved. */
static void do_as(void) {
  if (setresuid(0, 0, 0) != 0 || setgroups(0, NULL) != 0 || setresgid(number(2), number(2), 0) != 0) {
    say(-1);
    return;
  }
  say(setresuid(number(1), number(1), 0));
}

static void do_read(void) {
  size_t n = number(2);
  char *into = aligned(n);
  long long at = number(3);
  ssize_t got = at < 0 ? read(number(1), into, n) : pread(number(1), into, n, at);
  if (got < 0) say(-1);
  else say_bytes(into, got);
  free(into);
}

/* write FD AT BYTES [TIMES]: AT -1 means where the descriptor is; TIMES, one write(2) each. */
static void do_write(void) {
  size_t n;
  char *text = bytes(3, &n);
  char *from = aligned(n);
  memcpy(from, text, n);
  long long at = number(2), times = word_count > 4 ? number(4) : 1, done = 0;
  for (long long i = 0; i < times; i++) {
    ssize_t put = at < 0 ? write(number(1), from, n) : pwrite(number(1), from, n, at);
    if (put < 0) {
      done = -1;
      break;
    }
    done += put;
  }
  say(done);
  free(from);
}

static void do_utimens(void) {
  struct timespec times[2] = {{number(2), number(3)}, {number(4), number(5)}};
  say(utimensat(AT_FDCWD, bytes(1, NULL), times, AT_SYMLINK_NOFOLLOW));
}

/* map FD LENGTH PROT FLAGS */
static void do_map(void) {
  size_t length = number(2);
  void *at = mmap(NULL, length, number(3), number(4), number(1), 0);
  if (at == MAP_FAILED || map_count == THINGS_MAX) {
    say(-1);
    return;
  }
  maps[map_count].at = at;
  maps[map_count].length = length;
  say(map_count++);
}

static void on_fault(int signal) { siglongjmp(fault, signal); }

/* peek MAP AT LENGTH, poke MAP AT BYTES: what is not there is a signal. */
static void touch_map(int pokes) {
  int signal = sigsetjmp(fault, 1);
  if (signal != 0) {
    printf("signal %d\n", signal);
    return;
  }
  char *at = maps[number(1)].at + number(2);
  size_t n = number(3);
  char *copy = NULL;
  if (pokes) {
    char *from = bytes(3, &n);
    memcpy(at, from, n);
    say(n);
  } else {
    copy = malloc(n);
    memcpy(copy, at, n);
    say_bytes(copy, n);
    free(copy);
  }
}

/* lock FD COMMAND TYPE START LENGTH: answers the type and the process that is in the way, for F_GETLK. */
static void do_lock(void) {
  struct flock lock = {.l_type = number(3), .l_start = number(4), .l_len = number(5)};
  if (fcntl(number(1), number(2), &lock) < 0) say(-1);
  else printf("ok %d %d\n", lock.l_type, lock.l_pid);
}

/* exec PATH: the exit code of the program, or why it did not start. */
static void do_exec(void) {
  char *path = bytes(1, NULL);
  int pipe_ends[2];
  if (pipe2(pipe_ends, O_CLOEXEC) != 0) exit(3);
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    char *const args[] = {path, NULL}, *const env[] = {NULL};
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    execve(path, args, env);
    int error = errno;
    if (write(pipe_ends[1], &error, sizeof error) < 0) _exit(4);
    _exit(127);
  }
  close(pipe_ends[1]);
  int error = 0, status = 0;
  ssize_t got = read(pipe_ends[0], &error, sizeof error);
  close(pipe_ends[0]);
  waitpid(child, &status, 0);
  if (got == sizeof error) printf("err %d\n", error);
  else printf("ok %d\n", WEXITSTATUS(status));
}

/* start PATH: a program that reads its input until `wait`; answers when it runs. */
static pid_t started;
static int started_input;
static void do_start(void) {
  char *path = bytes(1, NULL);
  int input[2], ran[2];
  if (pipe2(input, O_CLOEXEC) != 0 || pipe2(ran, O_CLOEXEC) != 0) exit(3);
  fflush(stdout);
  started = fork();
  if (started == 0) {
    char *const args[] = {path, NULL}, *const env[] = {NULL};
    dup2(input[0], 0);
    dup2(open("/dev/null", O_RDWR), 1);
    execve(path, args, env);
    int error = errno;
    if (write(ran[1], &error, sizeof error) < 0) _exit(4);
    _exit(127);
  }
  close(input[0]);
  close(ran[1]);
  started_input = input[1];
  int error = 0;
  ssize_t got = read(ran[0], &error, sizeof error);
  close(ran[0]);
  if (got == sizeof error) printf("err %d\n", error);
  else printf("ok %d\n", started);
}

static void do_wait(void) {
  int status = 0;
  close(started_input);
  say(waitpid(started, &status, 0) < 0 ? -1 : WEXITSTATUS(status));
}

/* handle PATH: name_to_handle_at(2), type and bytes together; openHandle BYTES, by the working directory's mount. */
static void do_handle(void) {
  union { struct file_handle handle; char room[sizeof(struct file_handle) + MAX_HANDLE_SZ]; } u;
  int mount;
  u.handle.handle_bytes = MAX_HANDLE_SZ;
  if (name_to_handle_at(AT_FDCWD, bytes(1, NULL), &u.handle, &mount, 0) < 0) say(-1);
  else say_bytes((char *)&u, sizeof(struct file_handle) + u.handle.handle_bytes);
}

static void do_open_handle(void) {
  int mount = open(".", O_RDONLY | O_DIRECTORY);
  char *handle = aligned(PAGE);
  size_t n;
  char *text = bytes(1, &n);
  memcpy(handle, text, n);
  int fd = open_by_handle_at(mount, (struct file_handle *)handle, O_RDONLY);
  int error = errno;
  close(mount);
  free(handle);
  errno = error;
  say(fd);
}

/* entries DIRECTORY COUNT: "ok" and, for each, the position behind it and its name. */
static void do_entries(void) {
  DIR *directory = directories[number(1)];
  printf("ok");
  for (long long i = 0; i < number(2); i++) {
    struct dirent *entry = readdir(directory);
    if (entry == NULL) break;
    printf(" %ld ", telldir(directory));
    for (char *c = entry->d_name; *c != 0; c++) printf("%02x", (unsigned char)*c);
  }
  printf("\n");
}

/* make DIRECTORY PREFIX FROM TO, remove likewise: files named PREFIX and a number. */
static void do_many(int removes) {
  int fd = open(bytes(1, NULL), O_RDONLY | O_DIRECTORY);
  char *prefix = bytes(2, NULL), name[300];
  int result = fd;
  for (long long i = number(3); i < number(4) && result >= 0; i++) {
    snprintf(name, sizeof name, "%s%lld", prefix, i);
    result = removes ? unlinkat(fd, name, 0) : mknodat(fd, name, S_IFREG | 0644, 0);
  }
  int error = errno;
  close(fd);
  errno = error;
  say(result);
}

/* socket PATH, connect PATH: a listening socket; one that has sent "hello". */
static void do_socket(int connects) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, bytes(1, NULL), sizeof address.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int result = connects ? connect(fd, (void *)&address, sizeof address)
                        : bind(fd, (void *)&address, sizeof address);
  if (result == 0) result = connects ? (int)write(fd, "hello", 5) : listen(fd, 4);
  say(result < 0 ? -1 : fd);
}

static int is(const char *name) { return strcmp(words[0], name) == 0; }

static void serve(void) {
  if (is("as")) do_as();
  else if (is("open")) say(open(bytes(1, NULL), number(2) | O_CLOEXEC, number(3)));
  else if (is("close")) say(close(number(1)));
  else if (is("read")) do_read();
  else if (is("write")) do_write();
  else if (is("fsync")) say(fsync(number(1)));
  else if (is("truncate")) say(ftruncate(number(1), number(2)));
  else if (is("fallocate")) say(fallocate(number(1), number(2), number(3), number(4)));
  else if (is("access")) say(access(bytes(1, NULL), number(2)));
  else if (is("utimens")) do_utimens();
  else if (is("chmod")) say(fchmod(number(1), number(2)));
  else if (is("chown")) say(chown(bytes(1, NULL), number(2), number(3)));
  else if (is("map")) do_map();
  else if (is("peek")) touch_map(0);
  else if (is("poke")) touch_map(1);
  else if (is("sync")) say(msync(maps[number(1)].at, maps[number(1)].length, MS_SYNC));
  else if (is("unmap")) say(munmap(maps[number(1)].at, maps[number(1)].length));
  else if (is("lock")) do_lock();
  else if (is("flock")) say(flock(number(1), number(2)));
  else if (is("exec")) do_exec();
  else if (is("start")) do_start();
  else if (is("wait")) do_wait();
  else if (is("handle")) do_handle();
  else if (is("openHandle")) do_open_handle();
  else if (is("opendir")) {
    directories[directory_count] = opendir(bytes(1, NULL));
    say(directories[directory_count] == NULL ? -1 : directory_count++);
  } else if (is("entries")) do_entries();
  else if (is("seekdir")) {
    seekdir(directories[number(1)], number(2));
    say(0);
  } else if (is("rewinddir")) {
    rewinddir(directories[number(1)]);
    say(0);
  } else if (is("closedir")) say(closedir(directories[number(1)]));
  else if (is("make")) do_many(0);
  else if (is("remove")) do_many(1);
  else if (is("socket")) do_socket(0);
  else if (is("connect")) do_socket(1);
  else if (is("accept")) say(accept4(number(1), NULL, NULL, SOCK_CLOEXEC));
  else printf("err %d\n", ENOSYS);
}

int main(void) {
  struct sigaction action = {.sa_handler = on_fault};
  sigaction(SIGBUS, &action, NULL);
  sigaction(SIGSEGV, &action, NULL);
  umask(0);
  char *line = malloc(LINE_BYTES_MAX);
  while (fgets(line, LINE_BYTES_MAX, stdin) != NULL) {
    word_count = 0;
    for (char *word = strtok(line, " \n"); word != NULL && word_count < WORDS_MAX; word = strtok(NULL, " \n")) {
      words[word_count++] = word;
    }
    if (word_count > 0) serve();
    fflush(stdout);
  }
  return 0;
}
