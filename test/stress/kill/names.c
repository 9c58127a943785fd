/* Operations on names and attributes. */
#include "client.h"

#include <sys/xattr.h>

static int has_room(struct client *c) { return c->node_count < NODES_MAX - 2; }

/** With O_EXCL, which a request that is done twice would not survive. */
static void create(struct client *c) {
  char path[PATH_ROOM], below[PATH_ROOM];
  if (!has_room(c) || c->handle_count == HANDLES_MAX) return;
  struct node *node = add_node(c, FILE_NODE, some_parent(c));
  node->file = add_file(c, 0644);
  node->file->links = 1;
  note(c, "%s", path_below(node, below));
  int fd = CALL(c, "open", open(path_of(c, node, path), O_RDWR | O_CREAT | O_EXCL, 0644));
  must(c, fd);
  record(c, "create %s", below);
  add_handle(c, fd, node->file, 0);
  check_node(c, node);
}

static void create_again(struct client *c) {
  char path[PATH_ROOM], below[PATH_ROOM];
  struct node *node = some_node(c, FILE_NODE);
  if (node == NULL) return;
  note(c, "%s", path_below(node, below));
  must_refuse(c, CALL(c, "open", open(path_of(c, node, path), O_WRONLY | O_CREAT | O_EXCL, 0644)), EEXIST);
}

static void link_nameless(struct client *c) {
  char path[PATH_ROOM], below_[PATH_ROOM], through[64];
  struct stat st;
  if (!has_room(c) || c->handle_count == HANDLES_MAX) return;
  struct node *parent = some_parent(c);
  int fd = CALL(c, "open", open(path_of(c, parent, path), O_RDWR | O_TMPFILE, 0644));
  must(c, fd);
  struct file *file = add_file(c, 0644);
  add_handle(c, fd, file, 0);
  must(c, CALL(c, "fstat", fstat(fd, &st)));
  check_stat(c, file, &st);
  record(c, "create %s/(inode %lu)", path_below(parent, below_), file->number);
  size_t length = 1 + below(c, 100 * KIB);
  memset(c->block, (int)next(c), length);
  note(c, "%zu bytes", length);
  expect_count(c, CALL(c, "pwrite", pwrite(fd, c->block, length, 0)), length);
  set_bytes(file, c->block, 0, length);
  if (chance(c, 3)) return;
  struct node *node = add_node(c, FILE_NODE, parent);
  snprintf(through, sizeof through, "/proc/self/fd/%d", fd);
  note(c, "%zu bytes as %s", length, path_below(node, below_));
  must(c, CALL(c, "linkat", linkat(AT_FDCWD, through, AT_FDCWD, path_of(c, node, path), AT_SYMLINK_FOLLOW)));
  record(c, "link %s", below_);
  node->file = file;
  file->links += 1;
}

static void link_again(struct client *c) {
  char from[PATH_ROOM], to[PATH_ROOM], below[PATH_ROOM];
  struct node *old = some_node(c, FILE_NODE);
  if (old == NULL || !has_room(c)) return;
  struct node *node = add_node(c, FILE_NODE, some_parent(c));
  path_of(c, old, from);
  note(c, "%s %s", from, path_below(node, below));
  must(c, CALL(c, "link", link(from, path_of(c, node, to))));
  record(c, "link %s", below);
  node->file = old->file;
  node->file->links += 1;
  check_node(c, node);
}

static void unlink_one(struct client *c) {
  char path[PATH_ROOM], below[PATH_ROOM];
  struct node *node = some_node(c, chance(c, 6) ? LINK_NODE : FILE_NODE);
  if (node == NULL) return;
  note(c, "%s", path_below(node, below));
  path_of(c, node, path);
  must(c, CALL(c, "unlink", unlink(path)));
  record(c, "unlink %s", below);
  remove_node(c, node);
  if (chance(c, 4)) must_refuse(c, CALL(c, "unlink", unlink(path)), ENOENT);
}

static void make_directory(struct client *c) {
  char path[PATH_ROOM], below[PATH_ROOM];
  if (!has_room(c)) return;
  struct node *node = add_node(c, DIRECTORY_NODE, some_parent(c));
  node->mode = 0755;
  note(c, "%s", path_below(node, below));
  path_of(c, node, path);
  must(c, CALL(c, "mkdir", mkdir(path, 0755)));
  record(c, "mkdir %s", below);
  check_node(c, node);
  if (chance(c, 4)) must_refuse(c, CALL(c, "mkdir", mkdir(path, 0755)), EEXIST);
}

static void remove_directory(struct client *c) {
  char path[PATH_ROOM], below[PATH_ROOM];
  struct node *node = some_node(c, DIRECTORY_NODE);
  if (node == NULL) return;
  note(c, "%s", path_below(node, below));
  path_of(c, node, path);
  if (children(c, node) > 0) {
    must_refuse(c, CALL(c, "rmdir", rmdir(path)), ENOTEMPTY);
    return;
  }
  must(c, CALL(c, "rmdir", rmdir(path)));
  record(c, "rmdir %s", below);
  remove_node(c, node);
}

/** Where the node is afterwards; the same file under both names stays where it is. */
static void move_to(struct client *c, struct node *node, struct node *parent, const char *name) {
  (void)c;
  node->parent = parent;
  snprintf(node->name, sizeof node->name, "%s", name);
}

static void rename_to_new(struct client *c) {
  char from[PATH_ROOM], to[PATH_ROOM], name[NAME_ROOM], old[PATH_ROOM], new[PATH_ROOM];
  struct node *node = some_node(c, (enum kind)below(c, 3));
  struct node *parent = some_parent(c);
  if (node == NULL || is_below(parent, node)) return;
  new_name(c, name);
  path_of(c, node, from);
  path_below(node, old);
  move_to(c, node, parent, name);
  path_of(c, node, to);
  note(c, "%s %s", old, path_below(node, new));
  must(c, CALL(c, "rename", rename(from, to)));
  record(c, "rename %s %s", old, new);
  check_node(c, node);
  if (chance(c, 4)) must_refuse(c, CALL(c, "rename", rename(from, to)), ENOENT);
}

static void rename_over(struct client *c) {
  char from[PATH_ROOM], to[PATH_ROOM], old[PATH_ROOM], new[PATH_ROOM];
  struct node *node = some_node(c, FILE_NODE), *over = some_node(c, FILE_NODE);
  if (node == NULL || node->file == over->file) return;
  path_of(c, node, from);
  path_of(c, over, to);
  note(c, "%s %s", path_below(node, old), path_below(over, new));
  must_refuse(c, CALL(c, "renameat2", renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE)), EEXIST);
  must(c, CALL(c, "rename", rename(from, to)));
  record(c, "rename %s %s", old, new);
  struct node place = *over;
  remove_node(c, over);
  move_to(c, node, place.parent, place.name);
  check_node(c, node);
}

static void exchange(struct client *c) {
  char from[PATH_ROOM], to[PATH_ROOM], old[PATH_ROOM], new[PATH_ROOM];
  struct node *node = some_node(c, FILE_NODE), *other = some_node(c, (enum kind)below(c, 2));
  if (node == NULL || other == NULL || node->file == other->file || is_below(node, other)) return;
  path_of(c, node, from);
  path_of(c, other, to);
  note(c, "%s %s", path_below(node, old), path_below(other, new));
  must(c, CALL(c, "renameat2", renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE)));
  record(c, "rename %s %s", old, new);
  struct node place = *other;
  move_to(c, other, node->parent, node->name);
  move_to(c, node, place.parent, place.name);
  check_node(c, node);
  check_node(c, other);
}

static void link_symbolically(struct client *c) {
  char path[PATH_ROOM], below[PATH_ROOM];
  if (!has_room(c)) return;
  struct node *node = add_node(c, LINK_NODE, some_parent(c));
  snprintf(node->target, sizeof node->target, "to %ld", c->operations);
  note(c, "%s", path_below(node, below));
  must(c, CALL(c, "symlink", symlink(node->target, path_of(c, node, path))));
  record(c, "symlink %s", below);
  check_node(c, node);
}

static void change_mode(struct client *c) {
  char path[PATH_ROOM], below_[PATH_ROOM];
  struct node *node = some_node(c, chance(c, 3) ? DIRECTORY_NODE : FILE_NODE);
  if (node == NULL) return;
  mode_t mode = 0600 | below(c, 0200);
  note(c, "%s %o", path_below(node, below_), mode);
  must(c, CALL(c, "chmod", chmod(path_of(c, node, path), mode)));
  // By which of its names a file is meant, nobody says.
  record(c, "chmod %lu %o", node->kind == FILE_NODE ? node->file->number : node->number, mode);
  if (node->kind == FILE_NODE) node->file->mode = mode;
  else node->mode = mode;
  check_node(c, node);
}

static void set_attribute(struct client *c) {
  char path[PATH_ROOM], below_[PATH_ROOM];
  struct node *node = some_node(c, FILE_NODE);
  if (node == NULL) return;
  path_of(c, node, path);
  path_below(node, below_);
  char *value = node->file->value;
  if (*value != 0 && chance(c, 3)) {
    note(c, "%s remove", below_);
    must(c, CALL(c, "removexattr", removexattr(path, "user.x")));
    record(c, "removexattr %lu", node->file->number);
    *value = 0;
    must_refuse(c, CALL(c, "removexattr", removexattr(path, "user.x")), ENODATA);
    return;
  }
  // A set that is done twice finds the name there.
  int flag = *value == 0 ? XATTR_CREATE : XATTR_REPLACE;
  snprintf(value, VALUE_ROOM, "%ld", c->operations);
  note(c, "%s %s", below_, value);
  must(c, CALL(c, "setxattr", setxattr(path, "user.x", value, strlen(value), flag)));
  record(c, "setxattr %lu", node->file->number);
  check_node(c, node);
}

static void look(struct client *c) {
  char below_[PATH_ROOM];
  struct node *node = some_node(c, (enum kind)below(c, 3));
  if (node == NULL) return;
  note(c, "%s", path_below(node, below_));
  check_node(c, node);
}

static void list(struct client *c) {
  char below_[PATH_ROOM];
  struct node *node = chance(c, 3) ? NULL : some_node(c, DIRECTORY_NODE);
  note(c, "%s", path_below(node, below_));
  check_listing(c, node);
}

const struct operation NAME_OPERATIONS[] = {
    {"create", 8, create},
    {"create again", 2, create_again},
    {"link nameless", 3, link_nameless},
    {"link", 4, link_again},
    {"unlink", 9, unlink_one},
    {"mkdir", 5, make_directory},
    {"rmdir", 5, remove_directory},
    {"rename", 5, rename_to_new},
    {"rename over", 3, rename_over},
    {"exchange", 2, exchange},
    {"symlink", 2, link_symbolically},
    {"chmod", 4, change_mode},
    {"setxattr", 4, set_attribute},
    {"stat", 6, look},
    {"list", 3, list},
    {NULL, 0, NULL},
};
