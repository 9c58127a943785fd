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
// Room. On a disk without space what frees some must still be committed, so both files have more of
// the disk than they use, allocated in advance behind their ends (fallocate(2), FALLOC_FL_KEEP_SIZE):
// - A frame is written only where the WAL has room already, and a transaction commits only when the
//   database has room for every page it then consists of: so that no checkpoint needs space.
// - Besides, a transaction leaves a reserve in both; one that frees space (kitfs_frees) may use it.
// - What is written where there is room takes no space of the disk, as long as that does not copy on
//   write. A disk that cannot allocate in advance is written as if there always were room.
//
// Frames: https://www.sqlite.org/fileformat2.html#wal_file_format, and walFrames() in sqlite3.c.
// Locks: https://www.sqlite.org/walformat.html#wal_locks.
#include <sqlite3ext.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>

#include "wal_room.h"

SQLITE_EXTENSION_INIT1

namespace {

constexpr char kName[] = "kitfs-wal";
constexpr int kFrameHeaderBytes = 24;
// Holds a frame of the largest page, and is less than the 128 KiB that the unix VFS can write at once:
// it masks the count with 0x1ffff, and takes what is left for a full disk.
constexpr int kPendingBytesMax = 124 * 1024;
constexpr int kWriteLock = 0;
constexpr sqlite3_int64 kNothingLost = std::numeric_limits<sqlite3_int64>::max();

// Regions of the wal-index (32 KiB, for 4096 frames) made at once, for a WAL of 64 MiB, on a disk
// with a whole reserve.
constexpr int kIndexRegions = 9;

struct Wal;

// The methods of a database's file, behind it.
struct Database : sqlite3_io_methods {
  const sqlite3_io_methods* real;
  Wal* wal;            // Null while there is none; it ends before the database.
  DatabaseRoom* room;  // Null for a connection that only reads.
  const char* path;    // SQLite keeps it as long as the file is open.
  bool is_writing;
  bool is_freeing;      // The transaction may use the reserves.
  bool is_reserve_used;  // What a transaction found: one of them is not whole.
  sqlite3_int64 committed_end;  // The room that its pages need, as the last transaction had it,
  sqlite3_int64 wal_end;        // and that of the WAL.
  int last_errno;  // Of the last write that failed; 0 when SQLite says what it was.
};

// The methods of a WAL, behind it. What SQLite says to have been written is in the file up to
// `pending_at`, and in `pending` from there on.
struct Wal : sqlite3_io_methods {
  const sqlite3_io_methods* real;
  Database* database;
  Room* room;     // Null in a connection that only reads; deleted by xClose.
  char* pending;  // kPendingBytesMax; null until it is needed; freed by xClose.
  sqlite3_int64 pending_at;
  int pending_count;
  // The rest is about the transaction that holds the write lock.
  sqlite3_int64 written_end;  // The end of the farthest write; 0 before the first.
  bool is_page_next;          // The last write was the header of a frame,
  bool is_commit;             // which is a commit frame
  sqlite3_int64 pages;        // of a database of so many pages.
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

// Whether there is room up to `end`, and the reserve behind it, made where it is not. SQLITE_OK also
// to a transaction that may use the reserve, and finds room there.
int DemandRoom(Database& database, Room* room, sqlite3_int64 end, sqlite3_int64 reserve) {
  if (room == nullptr || room->fd < 0 || end + reserve <= room->allocated) return SQLITE_OK;
  if (database.is_freeing && database.is_reserve_used && end <= room->allocated) return SQLITE_OK;
  // In steps, so that few commits ask the disk for any.
  int error = Allocate(*room, end + 2 * reserve);
  if (error != 0) error = Allocate(*room, end + reserve);
  if (error == 0) return SQLITE_OK;
  database.is_reserve_used = true;
  if (database.is_freeing && (end <= room->allocated || Allocate(*room, end) == 0)) return SQLITE_OK;
  database.last_errno = error;
  return error == ENOSPC || error == EDQUOT ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

sqlite3_int64 ReserveOf(const Database& database) {
  return database.room == nullptr ? 0 : database.room->reserve;
}

void EndTransaction(Wal& wal) {
  wal.pending_count = 0;
  wal.written_end = 0;
  wal.is_page_next = false;
  wal.is_commit = false;
  wal.failure = SQLITE_OK;
  wal.lost_from = kNothingLost;
}

void Fail(Wal& wal, int failure, sqlite3_int64 offset) {
  wal.failure = failure;
  wal.lost_from = std::min(wal.lost_from, offset);
}

int WriteThrough(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
  Wal& wal = WalOf(file);
  int result = wal.real->xWrite(file, bytes, count, offset);
  if (result != SQLITE_OK) {
    int error = 0;
    wal.real->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &error);
    wal.database->last_errno = error;
    if (error == EDQUOT) result = SQLITE_FULL;
  }
  if (result != SQLITE_OK && wal.database->is_writing) Fail(wal, result, offset);
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

sqlite3_int64 BigEndian(const unsigned char* bytes) {
  sqlite3_int64 value = 0;
  for (int i = 0; i < 4; i++) value = value << 8 | bytes[i];
  return value;
}

// A commit frame's page is the first to tell how long its pages are.
int DemandRoomOf(Wal& wal, bool is_page, int count, sqlite3_int64 offset) {
  Database& database = *wal.database;
  const int result = DemandRoom(database, wal.room, offset + count, ReserveOf(database));
  if (result != SQLITE_OK || !is_page || !wal.is_commit) return result;
  database.committed_end = wal.pages * count;
  database.wal_end = offset + count;
  return DemandRoom(database, database.room, database.committed_end, ReserveOf(database) / 2);
}

int WalWrite(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
  Wal& wal = WalOf(file);
  if (!wal.database->is_writing) return WriteThrough(file, bytes, count, offset);
  if (wal.failure != SQLITE_OK) return wal.failure;
  const bool is_page = wal.is_page_next && offset == wal.written_end && count <= kPendingBytesMax;
  const bool is_header = !is_page && count == kFrameHeaderBytes && offset >= wal.written_end;
  const int room = DemandRoomOf(wal, is_page, count, offset);
  if (room != SQLITE_OK) {
    Fail(wal, room, wal.pending_count > 0 ? wal.pending_at : offset);
    wal.pending_count = 0;
    return room;
  }
  wal.written_end = std::max(wal.written_end, offset + count);
  wal.is_page_next = is_header;
  if (is_header) {
    wal.pages = BigEndian(static_cast<const unsigned char*>(bytes) + 4);
    wal.is_commit = wal.pages != 0;
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
  Wal& wal = WalOf(file);
  const int result = Settle(file);
  if (result != SQLITE_OK) return result;
  // It takes what is allocated behind the new end as well.
  if (wal.room != nullptr) wal.room->allocated = std::min<sqlite3_int64>(wal.room->allocated, size);
  return wal.real->xTruncate(file, size);
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
  delete wal.room;
  wal.room = nullptr;
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

// Makes all of the wal-index that is usually needed, so that it need not grow when the disk is full.
int ShmMap(sqlite3_file* file, int region, int size, int extend, void volatile** mapped) {
  const Database& database = DatabaseOf(file);
  const sqlite3_io_methods& real = *database.real;
  if (region == 0 && extend != 0 && ReserveOf(database) == kReserveBytesMax) {
    // Whether there was space for all of it shows when the others are asked for.
    void volatile* ignored = nullptr;
    real.xShmMap(file, kIndexRegions - 1, size, extend, &ignored);
  }
  return real.xShmMap(file, region, size, extend, mapped);
}

// After a checkpoint SQLite cuts the file to the size it has, which takes what is allocated behind it.
int DatabaseTruncate(sqlite3_file* file, sqlite3_int64 size) {
  Database& database = DatabaseOf(file);
  sqlite3_int64 present = 0;
  const int result = database.real->xFileSize(file, &present);
  if (result != SQLITE_OK || size == present) return result;
  if (size < present && database.room != nullptr) {
    database.room->allocated = std::min<sqlite3_int64>(database.room->allocated, size);
  }
  return database.real->xTruncate(file, size);
}

int DatabaseClose(sqlite3_file* file) {
  Database& database = DatabaseOf(file);
  const char* const path = database.path;
  const int result = database.real->xClose(file);
  LeaveRoom(path);
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

void AdoptDatabase(const Vfs& vfs, sqlite3_filename name, sqlite3_file* file, bool is_writable) {
  // Version 1 has no shared memory, and then no WAL either, except by locking_mode=EXCLUSIVE.
  if (file->pMethods->iVersion < 2 || file->pMethods->xShmLock == nullptr || name == nullptr) return;
  Database& database = PutBehind<Database>(file, vfs);
  database.xShmLock = ShmLock;
  database.xShmMap = ShmMap;
  database.xTruncate = DatabaseTruncate;
  database.xClose = DatabaseClose;
  database.path = name;
  DatabaseRoom& room = EnterRoom(name, is_writable);
  if (is_writable) database.room = &room;
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
  if (wal.database->room != nullptr) {
    wal.room = new Room();
    wal.room->Open(name);
  }
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
  if ((flags & SQLITE_OPEN_MAIN_DB) != 0) {
    AdoptDatabase(vfs, name, file, (flags & SQLITE_OPEN_READWRITE) != 0);
  }
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

// The file of the connection's database; null when it is none of ours.
Database* DatabaseOf(sqlite3_context* context) {
  sqlite3_file* file = nullptr;
  sqlite3_file_control(sqlite3_context_db_handle(context), "main", SQLITE_FCNTL_FILE_POINTER, &file);
  if (file == nullptr || file->pMethods == nullptr || file->pMethods->xShmLock != ShmLock) return nullptr;
  return &DatabaseOf(file);
}

// kitfs_frees(is): the transaction frees space, and may use the reserves. Answers whether one of them
// was found not to be whole since kitfs_reserve() was asked last.
void Frees(sqlite3_context* context, int, sqlite3_value** values) {
  Database* const database = DatabaseOf(context);
  if (database == nullptr) return;
  database->is_freeing = sqlite3_value_int(values[0]) != 0;
  sqlite3_result_int(context, database->is_reserve_used ? 1 : 0);
}

// kitfs_reserve(): makes the reserves whole again, if the disk lets it; whether they are not.
void Reserve(sqlite3_context* context, int, sqlite3_value**) {
  Database* const database = DatabaseOf(context);
  if (database == nullptr || database->wal == nullptr) return;
  Wal& wal = *database->wal;
  database->is_reserve_used = false;
  const bool was_freeing = database->is_freeing;
  database->is_freeing = false;
  const sqlite3_int64 reserve = ReserveOf(*database);
  DemandRoom(*database, wal.room, database->wal_end, reserve);
  DemandRoom(*database, database->room, database->committed_end, reserve / 2);
  database->is_freeing = was_freeing;
  sqlite3_result_int(context, database->is_reserve_used ? 1 : 0);
}

// kitfs_errno(): what the last write that failed met; 0 when none did, or SQLite tells. Asked once.
void Errno(sqlite3_context* context, int, sqlite3_value**) {
  Database* const database = DatabaseOf(context);
  if (database == nullptr) return;
  sqlite3_result_int(context, database->last_errno);
  database->last_errno = 0;
}

int AddFunctions(sqlite3* db) {
  constexpr int kFlags = SQLITE_UTF8 | SQLITE_DIRECTONLY;
  int result = sqlite3_create_function(db, "kitfs_frees", 1, kFlags, nullptr, Frees, nullptr, nullptr);
  if (result != SQLITE_OK) return result;
  result = sqlite3_create_function(db, "kitfs_reserve", 0, kFlags, nullptr, Reserve, nullptr, nullptr);
  if (result != SQLITE_OK) return result;
  return sqlite3_create_function(db, "kitfs_errno", 0, kFlags, nullptr, Errno, nullptr, nullptr);
}

}  // namespace

// SQLite derives the name from that of the file. Loading it again changes nothing about the VFS, from
// any thread; the connection that loads it gets the functions.
extern "C" __attribute__((visibility("default"))) int sqlite3_walvfs_init(
    sqlite3* db, char** message, const sqlite3_api_routines* api) {
  SQLITE_EXTENSION_INIT2(api);
  sqlite3_vfs* const unix_vfs = sqlite3_vfs_find("unix");
  if (unix_vfs == nullptr) {
    *message = sqlite3_mprintf("this SQLite has no VFS named unix");
    return SQLITE_ERROR;
  }
  // It lives as long as the process, as does the list of VFSs that it is in.
  static Vfs vfs = Over(unix_vfs);
  int result = sqlite3_vfs_register(&vfs, /*makeDflt=*/1);
  if (result == SQLITE_OK) result = AddFunctions(db);
  return result == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : result;
}
