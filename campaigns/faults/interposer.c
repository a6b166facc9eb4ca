/* A library that is put before the C library, and makes system calls fail on demand: the Nth one below a directory, and
 * all after it if that is wanted; or it ends the process there, as a crash would.
 *
 * What is to fail stands in a file that all processes map: see interposer.py, which has the same fields. Calls elsewhere
 * are neither counted nor touched, so that the interpreter's own are left alone.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

enum mode { ONCE, FROM_THEN_ON, END_PROCESS };

struct control {
    int64_t at;      /* the call that fails, counted from 1; 0 for none */
    int64_t error;   /* its errno */
    int64_t mode;
    int64_t kinds;   /* a bit for each kind of call that counts */
    _Atomic int64_t count;
    _Atomic int64_t hits;
    char call[64];   /* the first that failed, and where */
    char path[512];
    char below[512]; /* the directory */
};

enum kind { OPEN, READ, WRITE, RENAME, LINK, UNLINK, MKDIR, LIST, LOOK, LOCK, SYNC, CHANGE, CLOSE };

#define MOST_FILES 65536
static struct control *control;
static size_t below_size;
static unsigned char marked[MOST_FILES]; /* the descriptors of what lies below the directory */

static void __attribute__((constructor)) begin(void) {
    const char *name = getenv("FAULTS_CONTROL");
    int file = name ? (int)syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    syscall(SYS_close, file);
    if (mapped == MAP_FAILED)
        return;
    control = mapped;
    below_size = strlen(control->below);
}

static int is_marked(int file) { return file >= 0 && file < MOST_FILES && marked[file]; }

static void mark(int file, int is_below) {
    if (file >= 0 && file < MOST_FILES)
        marked[file] = (unsigned char)is_below;
}

static int is_below(int directory, const char *path) {
    if (!control || !path)
        return 0;
    if (path[0] != '/')
        return directory != AT_FDCWD && is_marked(directory);
    return !strncmp(path, control->below, below_size) && (!path[below_size] || path[below_size] == '/');
}

/* Whether the call has to fail, with errno set. */
static int fails(enum kind kind, const char *call, const char *path) {
    if (!control || !control->at || !(control->kinds >> kind & 1))
        return 0;
    int64_t number = atomic_fetch_add(&control->count, 1) + 1;
    if (number != control->at && !(control->mode == FROM_THEN_ON && number > control->at))
        return 0;
    if (!atomic_fetch_add(&control->hits, 1)) {
        strncpy(control->call, call, sizeof control->call - 1);
        strncpy(control->path, path ? path : "", sizeof control->path - 1);
    }
    if (control->mode == END_PROCESS)
        syscall(SYS_exit_group, 137);
    errno = (int)control->error;
    return 1;
}

static int path_fails(enum kind kind, const char *call, int directory, const char *path) {
    return is_below(directory, path) && fails(kind, call, path);
}

static int file_fails(enum kind kind, const char *call, int file) {
    return is_marked(file) && fails(kind, call, NULL);
}

#define REAL(type, name, ...)                                                                                          \
    static type (*real)(__VA_ARGS__);                                                                                  \
    if (!real)                                                                                                         \
        real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define OPENED(directory, path, call)                                                                                  \
    do {                                                                                                               \
        if (path_fails(OPEN, "open", directory, path))                                                                 \
            return -1;                                                                                                 \
        int file = call;                                                                                               \
        mark(file, is_below(directory, path));                                                                         \
        return file;                                                                                                   \
    } while (0)

#define MODE_OF(flags, permissions)                                                                                    \
    mode_t permissions = 0;                                                                                            \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                             \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        permissions = va_arg(more, mode_t);                                                                            \
        va_end(more);                                                                                                  \
    }

int open(const char *path, int flags, ...) {
    MODE_OF(flags, permissions)
    REAL(int, "open", const char *, int, ...);
    OPENED(AT_FDCWD, path, real(path, flags, permissions));
}

int open64(const char *path, int flags, ...) {
    MODE_OF(flags, permissions)
    REAL(int, "open64", const char *, int, ...);
    OPENED(AT_FDCWD, path, real(path, flags, permissions));
}

int openat(int directory, const char *path, int flags, ...) {
    MODE_OF(flags, permissions)
    REAL(int, "openat", int, const char *, int, ...);
    OPENED(directory, path, real(directory, path, flags, permissions));
}

int openat64(int directory, const char *path, int flags, ...) {
    MODE_OF(flags, permissions)
    REAL(int, "openat64", int, const char *, int, ...);
    OPENED(directory, path, real(directory, path, flags, permissions));
}

/* What fails has closed the file all the same, as Linux does. */
int close(int file) {
    REAL(int, "close", int);
    int is_failure = file_fails(CLOSE, "close", file);
    int error = errno;
    mark(file, 0);
    int result = real(file);
    if (is_failure)
        errno = error;
    return is_failure ? -1 : result;
}

int fcntl64(int file, int command, ...) {
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *);
    va_end(more);
    REAL(int, "fcntl64", int, int, ...);
    int is_lock = command == F_SETLK || command == F_OFD_SETLK || command == F_OFD_GETLK || command == F_OFD_SETLKW;
    if (is_lock && file_fails(LOCK, "fcntl", file))
        return -1;
    int result = real(file, command, argument);
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
        mark(result, is_marked(file));
    return result;
}

int dup2(int file, int other) {
    REAL(int, "dup2", int, int);
    int result = real(file, other);
    if (result >= 0)
        mark(result, is_marked(file));
    return result;
}

ssize_t read(int file, void *buffer, size_t size) {
    REAL(ssize_t, "read", int, void *, size_t);
    return file_fails(READ, "read", file) ? -1 : real(file, buffer, size);
}

ssize_t pread64(int file, void *buffer, size_t size, off_t offset) {
    REAL(ssize_t, "pread64", int, void *, size_t, off_t);
    return file_fails(READ, "pread", file) ? -1 : real(file, buffer, size, offset);
}

/* Of what fails, half is written all the same. */
ssize_t write(int file, const void *buffer, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (!file_fails(WRITE, "write", file))
        return real(file, buffer, size);
    int error = errno;
    (void)!real(file, buffer, size / 2);
    errno = error;
    return -1;
}

#define BY_PATH(result, name, kind, directory, path, parameters, types, arguments)                                     \
    result name parameters {                                                                                           \
        REAL(result, #name, types);                                                                                    \
        return path_fails(kind, #name, directory, path) ? -1 : real arguments;                                         \
    }
#define BY_FILE(result, name, kind, file, parameters, types, arguments)                                                \
    result name parameters {                                                                                           \
        REAL(result, #name, types);                                                                                    \
        return file_fails(kind, #name, file) ? -1 : real arguments;                                                    \
    }
#define TYPES(...) __VA_ARGS__

BY_PATH(int, rename, RENAME, AT_FDCWD, to, (const char *from, const char *to), TYPES(const char *, const char *),
        (from, to))
BY_PATH(int, renameat, RENAME, there, to, (int here, const char *from, int there, const char *to),
        TYPES(int, const char *, int, const char *), (here, from, there, to))
BY_PATH(int, link, LINK, AT_FDCWD, to, (const char *from, const char *to), TYPES(const char *, const char *),
        (from, to))
BY_PATH(int, linkat, LINK, there, to, (int here, const char *from, int there, const char *to, int flags),
        TYPES(int, const char *, int, const char *, int), (here, from, there, to, flags))
BY_PATH(int, symlink, LINK, AT_FDCWD, to, (const char *from, const char *to), TYPES(const char *, const char *),
        (from, to))
BY_PATH(int, symlinkat, LINK, there, to, (const char *from, int there, const char *to),
        TYPES(const char *, int, const char *), (from, there, to))
BY_PATH(int, unlink, UNLINK, AT_FDCWD, path, (const char *path), TYPES(const char *), (path))
BY_PATH(int, unlinkat, UNLINK, directory, path, (int directory, const char *path, int flags),
        TYPES(int, const char *, int), (directory, path, flags))
BY_PATH(int, rmdir, UNLINK, AT_FDCWD, path, (const char *path), TYPES(const char *), (path))
BY_PATH(int, mkdir, MKDIR, AT_FDCWD, path, (const char *path, mode_t mode), TYPES(const char *, mode_t), (path, mode))
BY_PATH(int, mkdirat, MKDIR, directory, path, (int directory, const char *path, mode_t mode),
        TYPES(int, const char *, mode_t), (directory, path, mode))
BY_PATH(int, stat64, LOOK, AT_FDCWD, path, (const char *path, struct stat64 *found),
        TYPES(const char *, struct stat64 *), (path, found))
BY_PATH(int, lstat64, LOOK, AT_FDCWD, path, (const char *path, struct stat64 *found),
        TYPES(const char *, struct stat64 *), (path, found))
BY_PATH(int, fstatat64, LOOK, directory, path, (int directory, const char *path, struct stat64 *found, int flags),
        TYPES(int, const char *, struct stat64 *, int), (directory, path, found, flags))
BY_PATH(ssize_t, readlink, LOOK, AT_FDCWD, path, (const char *path, char *buffer, size_t size),
        TYPES(const char *, char *, size_t), (path, buffer, size))
BY_PATH(int, statvfs64, LOOK, AT_FDCWD, path, (const char *path, struct statvfs64 *found),
        TYPES(const char *, struct statvfs64 *), (path, found))
BY_PATH(int, access, LOOK, AT_FDCWD, path, (const char *path, int mode), TYPES(const char *, int), (path, mode))
BY_PATH(int, chmod, CHANGE, AT_FDCWD, path, (const char *path, mode_t mode), TYPES(const char *, mode_t), (path, mode))
BY_PATH(int, utimensat, CHANGE, directory, path,
        (int directory, const char *path, const struct timespec times[2], int flags),
        TYPES(int, const char *, const struct timespec *, int), (directory, path, times, flags))
BY_FILE(int, futimens, CHANGE, file, (int file, const struct timespec times[2]), TYPES(int, const struct timespec *),
        (file, times))
BY_FILE(int, fchmod, CHANGE, file, (int file, mode_t mode), TYPES(int, mode_t), (file, mode))
BY_FILE(int, ftruncate64, CHANGE, file, (int file, off_t size), TYPES(int, off_t), (file, size))
BY_FILE(int, fstat64, LOOK, file, (int file, struct stat64 *found), TYPES(int, struct stat64 *), (file, found))
BY_FILE(int, flock, LOCK, file, (int file, int operation), TYPES(int, int), (file, operation))
BY_FILE(int, fsync, SYNC, file, (int file), TYPES(int), (file))
BY_FILE(int, fdatasync, SYNC, file, (int file), TYPES(int), (file))

DIR *opendir(const char *path) {
    REAL(DIR *, "opendir", const char *);
    if (path_fails(OPEN, "opendir", AT_FDCWD, path))
        return NULL;
    DIR *directory = real(path);
    if (directory)
        mark(dirfd(directory), is_below(AT_FDCWD, path));
    return directory;
}

struct dirent64 *readdir64(DIR *directory) {
    REAL(struct dirent64 *, "readdir64", DIR *);
    return file_fails(LIST, "readdir", dirfd(directory)) ? NULL : real(directory);
}

int closedir(DIR *directory) {
    REAL(int, "closedir", DIR *);
    mark(dirfd(directory), 0);
    return real(directory);
}
