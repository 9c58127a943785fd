// A VFS for SQLite that writes what one commit appends to the WAL with one pwrite(2), where SQLite's
// own takes two for each page: one for the header of the frame, one for the page. A loadable
// extension; loading it makes this the VFS of every connection that is opened afterwards in the
// process. Nothing else about the files changes: other processes and other builds of SQLite read and
// write them meanwhile.
//
// It is the VFS "unix" with another xOpen. A file that xOpen returns is the unix VFS's own object, and
// so are its methods, except for those below; they stand in a table of methods that lies behind the
// object, in the same allocation. Of a database that is xShmLock; of a WAL, what touches its bytes.
//
// Invariants. A commit frame is the last of a transaction; its header tells the size of the database.
// - Bytes are pending only while this connection holds the write lock of the WAL (byte 0 of the
//   wal-index's locks). Who lets it go has committed, and then nothing is pending, or has rolled back,
//   and then what is pending is dropped: another writer's frames may come to lie at its place.
//   Without that lock (locking_mode=EXCLUSIVE, recovery) every write goes straight to the file.
// - Nothing is pending when the xWrite of a commit frame's page returns. SQLite publishes the
//   transaction in the wal-index only after that. So a reader finds every frame it may look for in
//   the file, a process may be killed at any moment as before, and an error of the disk is an error of
//   that COMMIT.
// - Only frames at the end of what the transaction has written are held back. SQLite also goes back:
//   it writes a page over a frame of the same transaction, then the headers anew, the commit frame's
//   too. Those writes are not followed by a page, and go straight to the file.
// - Writes reach the file in the order in which SQLite made them, and before any read, sync,
//   truncation or question about the file.
// - A write that fails is final for its transaction: its bytes are given up, and so is every write
//   until the lock is let go. SQLite rolls back after it; should it ever go on, no commit frame can
//   follow the hole, and a read of the hole fails instead of finding old bytes. Frames without a
//   commit frame that did reach the file are no part of the database; the next transaction overwrites
//   them.
//
// Frames: https://www.sqlite.org/fileformat2.html#wal_file_format, and walFrames() in sqlite3.c.
// Locks: https://www.sqlite.org/walformat.html#wal_locks.
#include <sqlite3ext.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>

SQLITE_EXTENSION_INIT1

namespace {

constexpr char kName[] = "kitfs-wal";
constexpr int kFrameHeaderBytes = 24;
// Holds a frame of the largest page, and is less than the 128 KiB that the unix VFS can write at once:
// it masks the count with 0x1ffff, and takes what is left for a full disk.
constexpr int kPendingBytesMax = 124 * 1024;
constexpr int kWriteLock = 0;
constexpr sqlite3_int64 kNothingLost = std::numeric_limits<sqlite3_int64>::max();

struct Wal;

// The methods of a database's file, behind it. It has no end of its own: it holds nothing.
struct Database : sqlite3_io_methods {
  const sqlite3_io_methods* real;
  Wal* wal;  // Null while there is none; it ends before the database.
  bool is_writing;
};

// The methods of a WAL, behind it. What SQLite says to have been written is in the file up to
// `pending_at`, and in `pending` from there on.
struct Wal : sqlite3_io_methods {
  const sqlite3_io_methods* real;
  Database* database;
  char* pending;  // kPendingBytesMax; null until it is needed; freed by xClose.
  sqlite3_int64 pending_at;
  int pending_count;
  // The rest is about the transaction that holds the write lock.
  sqlite3_int64 written_end;  // The end of the farthest write; 0 before the first.
  bool is_page_next;          // The last write was the header of a frame,
  bool is_commit;             // which is a commit frame.
  int failure;                // What the first write that failed met, or SQLITE_OK;
  sqlite3_int64 lost_from;    // and where.
};

struct Vfs : sqlite3_vfs {
  sqlite3_vfs* real;
};

Database& DatabaseOf(sqlite3_file* file) {
  return *const_cast<Database*>(static_cast<const Database*>(file->pMethods));
}

Wal& WalOf(sqlite3_file* file) { return *const_cast<Wal*>(static_cast<const Wal*>(file->pMethods)); }

void EndTransaction(Wal& wal) {
  wal.pending_count = 0;
  wal.written_end = 0;
  wal.is_page_next = false;
  wal.is_commit = false;
  wal.failure = SQLITE_OK;
  wal.lost_from = kNothingLost;
}

int WriteThrough(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
  Wal& wal = WalOf(file);
  const int result = wal.real->xWrite(file, bytes, count, offset);
  if (result != SQLITE_OK && wal.database->is_writing) {
    wal.failure = result;
    wal.lost_from = offset;
  }
  return result;
}

// Brings what is pending to the file. Returns what the transaction has met, now or before.
int Settle(sqlite3_file* file) {
  Wal& wal = WalOf(file);
  if (wal.pending_count > 0) {
    const int count = wal.pending_count;
    wal.pending_count = 0;
    WriteThrough(file, wal.pending, count, wal.pending_at);
  }
  return wal.failure;
}

int HoldBack(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
  Wal& wal = WalOf(file);
  const bool is_next = offset == wal.pending_at + wal.pending_count;
  if (!is_next || count > kPendingBytesMax - wal.pending_count) {
    const int result = Settle(file);
    if (result != SQLITE_OK) return result;
  }
  if (wal.pending == nullptr) {
    wal.pending = static_cast<char*>(sqlite3_malloc(kPendingBytesMax));
    if (wal.pending == nullptr) return WriteThrough(file, bytes, count, offset);
  }
  if (wal.pending_count == 0) wal.pending_at = offset;
  std::memcpy(wal.pending + wal.pending_count, bytes, static_cast<size_t>(count));
  wal.pending_count += count;
  return SQLITE_OK;
}

int WalWrite(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
  Wal& wal = WalOf(file);
  if (!wal.database->is_writing) return WriteThrough(file, bytes, count, offset);
  if (wal.failure != SQLITE_OK) return wal.failure;
  const bool is_page = wal.is_page_next && offset == wal.written_end && count <= kPendingBytesMax;
  const bool is_header = !is_page && count == kFrameHeaderBytes && offset >= wal.written_end;
  wal.written_end = std::max(wal.written_end, offset + count);
  wal.is_page_next = is_header;
  if (is_header) {
    const char* const size_in_pages = static_cast<const char*>(bytes) + 4;
    wal.is_commit = std::any_of(size_in_pages, size_in_pages + 4, [](char byte) { return byte != 0; });
    return HoldBack(file, bytes, count, offset);
  }
  if (is_page) {
    const int result = HoldBack(file, bytes, count, offset);
    return result == SQLITE_OK && wal.is_commit ? Settle(file) : result;
  }
  const int result = Settle(file);
  return result == SQLITE_OK ? WriteThrough(file, bytes, count, offset) : result;
}

int WalRead(sqlite3_file* file, void* bytes, int count, sqlite3_int64 offset) {
  Wal& wal = WalOf(file);
  if (wal.pending_count > 0) {
    const int result = Settle(file);
    if (result != SQLITE_OK) return result;
  }
  // A rollback reads what was committed before, so that not every read may fail.
  if (offset + count > wal.lost_from) return SQLITE_IOERR_READ;
  return wal.real->xRead(file, bytes, count, offset);
}

int WalTruncate(sqlite3_file* file, sqlite3_int64 size) {
  const int result = Settle(file);
  return result == SQLITE_OK ? WalOf(file).real->xTruncate(file, size) : result;
}

int WalSync(sqlite3_file* file, int flags) {
  const int result = Settle(file);
  return result == SQLITE_OK ? WalOf(file).real->xSync(file, flags) : result;
}

int WalFileSize(sqlite3_file* file, sqlite3_int64* size) {
  const int result = Settle(file);
  return result == SQLITE_OK ? WalOf(file).real->xFileSize(file, size) : result;
}

int WalFileControl(sqlite3_file* file, int op, void* argument) {
  const int result = Settle(file);
  return result == SQLITE_OK ? WalOf(file).real->xFileControl(file, op, argument) : result;
}

// A connection that closes has committed or rolled back, so nothing pending is worth writing.
int WalClose(sqlite3_file* file) {
  Wal& wal = WalOf(file);
  sqlite3_free(wal.pending);
  wal.pending = nullptr;
  wal.database->wal = nullptr;
  return wal.real->xClose(file);
}

int ShmLock(sqlite3_file* file, int offset, int count, int flags) {
  Database& database = DatabaseOf(file);
  if (offset != kWriteLock) return database.real->xShmLock(file, offset, count, flags);
  if ((flags & SQLITE_SHM_UNLOCK) != 0) {
    // First, because another writer may begin at once.
    database.is_writing = false;
    if (database.wal != nullptr) EndTransaction(*database.wal);
    return database.real->xShmLock(file, offset, count, flags);
  }
  const int result = database.real->xShmLock(file, offset, count, flags);
  if (result == SQLITE_OK && (flags & SQLITE_SHM_EXCLUSIVE) != 0) database.is_writing = true;
  return result;
}

// SQLite rounds the allocation of a file up to eight bytes, and begins it at such an address.
constexpr int RoundedUp(int bytes) { return (bytes + 7) & ~7; }

static_assert(alignof(Database) <= 8 && alignof(Wal) <= 8, "they lie behind a file");

template <typename Methods>
Methods& PutBehind(sqlite3_file* file, const Vfs& vfs) {
  void* const place = reinterpret_cast<char*>(file) + RoundedUp(vfs.real->szOsFile);
  auto* const methods = new (place) Methods();
  static_cast<sqlite3_io_methods&>(*methods) = *file->pMethods;
  methods->real = file->pMethods;
  file->pMethods = methods;
  return *methods;
}

void AdoptDatabase(const Vfs& vfs, sqlite3_file* file) {
  // Version 1 has no shared memory, and then no WAL either, except by locking_mode=EXCLUSIVE.
  if (file->pMethods->iVersion < 2 || file->pMethods->xShmLock == nullptr) return;
  PutBehind<Database>(file, vfs).xShmLock = ShmLock;
}

void AdoptWal(const Vfs& vfs, sqlite3_filename name, sqlite3_file* file) {
  sqlite3_file* const database = sqlite3_database_file_object(name);
  // Its locks are not seen here: it has none, or a further VFS lies between.
  if (database->pMethods == nullptr || database->pMethods->xShmLock != ShmLock) return;
  // Without this ability SQLite splits frames, so that they cannot be told by their lengths.
  const int abilities = database->pMethods->xDeviceCharacteristics(database);
  if ((abilities & SQLITE_IOCAP_POWERSAFE_OVERWRITE) == 0) return;
  Wal& wal = PutBehind<Wal>(file, vfs);
  wal.database = &DatabaseOf(database);
  wal.database->wal = &wal;
  wal.xClose = WalClose;
  wal.xRead = WalRead;
  wal.xWrite = WalWrite;
  wal.xTruncate = WalTruncate;
  wal.xSync = WalSync;
  wal.xFileSize = WalFileSize;
  wal.xFileControl = WalFileControl;
  EndTransaction(wal);
}

int Open(sqlite3_vfs* self, sqlite3_filename name, sqlite3_file* file, int flags, int* out_flags) {
  const Vfs& vfs = *static_cast<Vfs*>(self);
  const int result = vfs.real->xOpen(vfs.real, name, file, flags, out_flags);
  if (result != SQLITE_OK) return result;
  if ((flags & SQLITE_OPEN_MAIN_DB) != 0) AdoptDatabase(vfs, file);
  if ((flags & SQLITE_OPEN_WAL) != 0) AdoptWal(vfs, name, file);
  return result;
}

// A copy, because all that the unix VFS asks of its object is pAppData.
Vfs Over(sqlite3_vfs* real) {
  Vfs vfs;
  static_cast<sqlite3_vfs&>(vfs) = *real;
  vfs.real = real;
  vfs.pNext = nullptr;
  vfs.zName = kName;
  vfs.szOsFile = RoundedUp(real->szOsFile) + static_cast<int>(std::max(sizeof(Database), sizeof(Wal)));
  vfs.xOpen = Open;
  return vfs;
}

}  // namespace

// SQLite derives the name from that of the file. Loading it again changes nothing, from any thread.
extern "C" __attribute__((visibility("default"))) int sqlite3_walvfs_init(
    sqlite3*, char** message, const sqlite3_api_routines* api) {
  SQLITE_EXTENSION_INIT2(api);
  sqlite3_vfs* const unix_vfs = sqlite3_vfs_find("unix");
  if (unix_vfs == nullptr) {
    *message = sqlite3_mprintf("this SQLite has no VFS named unix");
    return SQLITE_ERROR;
  }
  // It lives as long as the process, as does the list of VFSs that it is in.
  static Vfs vfs = Over(unix_vfs);
  const int result = sqlite3_vfs_register(&vfs, /*makeDflt=*/1);
  return result == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : result;
}
