// What the addon needs to know of /dev/fuse beyond read(2) and write(2): the two passthrough
// requests. They came with FUSE protocol 7.40 (Linux 6.9) and are missing from the <linux/fuse.h> of
// many systems that run such a kernel, so they are written down here.
// Source: include/uapi/linux/fuse.h of Linux 6.9, FUSE_DEV_IOC_MAGIC 229.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace kitfs {

struct BackingMap {
  int32_t fd;
  uint32_t flags;    // Must be zero.
  uint64_t padding;  // Must be zero.
};
static_assert(sizeof(BackingMap) == 16, "the kernel's struct fuse_backing_map has 16 bytes");

constexpr unsigned long kBackingOpen = _IOW(229, 1, BackingMap);
constexpr unsigned long kBackingClose = _IOW(229, 2, uint32_t);

// The kernel refuses to read(2) requests into less: FUSE_MIN_READ_BUFFER.
constexpr int64_t kRequestBytesMin = 8192;

}  // namespace kitfs
