/* Operations on mappings. */
#include "file.h"

/** Maps what lies around a place, beyond the end too. */
static void map_anew(struct file *f) {
  unmap(f);
  size_t offset = chance(2) ? 0 : below(f->size + 1) / PAGE * PAGE;
  f->map_offset = offset;
  f->map_length = (1 + below(chance(4) ? MIB : 32 * PAGE) + PAGE - 1) / PAGE * PAGE;
  f->map = mmap(NULL, f->map_length, PROT_READ | PROT_WRITE, MAP_SHARED, fd_of(f, BOTH), offset);
  if (f->map == MAP_FAILED) fail_errno("mmap");
}

/** A range that is mapped and not behind the end, of which only zeros to the end of its page may be touched. */
static int pick_mapped(struct file *f, size_t *offset, size_t *length) {
  if (f->map == NULL || chance(64)) map_anew(f);
  size_t end = least(f->size, f->map_offset + f->map_length);
  if (end <= f->map_offset) return 0;
  *offset = f->map_offset + (chance(4) ? 0 : below(end - f->map_offset));
  *length = least(some_length(), end - *offset);
  return 1;
}

int read_mapped(struct file *f) {
  size_t offset, length;
  if (!pick_mapped(f, &offset, &length)) return 0;
  note(f, "", offset, length);
  // mmap(2): from the end of the file to the end of its page there are zeros.
  if (offset + length == f->size) length += (PAGE - f->size % PAGE) % PAGE;
  compare(f, "the mapping", f->map + (offset - f->map_offset), offset, length);
  return 1;
}

int write_mapped(struct file *f) {
  size_t offset, length;
  int is_new = f->map == NULL;
  struct timespec begun = before_now();
  if (!pick_mapped(f, &offset, &length)) return 0;
  fill(block, length);
  note(f, is_new ? "a new one" : "", offset, length);
  memcpy(f->map + (offset - f->map_offset), block, length);
  set_bytes(f, block, offset, length);
  f->is_unsynced = 1;
  if (chance(8)) must("msync", msync(f->map, f->map_length, MS_ASYNC));
  if (!chance(96)) return 1;
  note(f, "with msync", offset, length);
  must("msync", msync(f->map, f->map_length, MS_SYNC));
  // The first write through a mapping marks the time; a page that is dirty already does not do it again.
  changed(f, is_new ? begun : f->modified);
  return 1;
}

/** Shared ones are of the file and read only; private ones hide what is written to them. */
int map_briefly(struct file *f) {
  size_t offset, length;
  int is_private = chance(2);
  pick(f, f->size, &offset, &length);
  offset -= offset % PAGE;
  length = least(length, f->size - offset);
  if (length == 0) return 0;
  note(f, is_private ? "private" : "shared", offset, length);
  uint8_t *map = mmap(NULL, length, PROT_READ | (is_private ? PROT_WRITE : 0), is_private ? MAP_PRIVATE : MAP_SHARED,
                      fd_of(f, READ), offset);
  if (map == MAP_FAILED) fail_errno("mmap");
  compare(f, "a brief mapping", map, offset, length);
  if (is_private) memset(map, 0xee, length);
  must("munmap", munmap(map, length));
  return 1;
}

int remap(struct file *f) {
  note(f, f->map == NULL ? "map" : "unmap", f->map_offset, f->map_length);
  if (f->map == NULL || chance(2)) map_anew(f);
  else unmap(f);
  return 1;
}
