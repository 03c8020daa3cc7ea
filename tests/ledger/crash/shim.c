/* Calls that change files below one directory are counted, written down, made to fail, or the last that happens.
 *
 * LD_PRELOAD=shim.so CRASH_ROOT=/directory program; the program calls, through ctypes:
 *   crash_arm(at, action)   act at the at-th call from now on (from 1); 0 only counts
 *   crash_count()           calls since then
 *   crash_log(path)         write every call down in a file, with its data; see tests/ledger/crash/powercut.py
 *   crash_note(text)        a line of the program's own in that file
 *
 * Actions: an errno > 0 (the call fails and does nothing), KILL (SIGKILL before the call), TORN (SIGKILL when half of
 * the call's data is written), SHORT (half of the data is written, and the call says so).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { KILL = -1, TORN = -2, SHORT = -3 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long target, count;
static int action, journal = -1;

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int below_root(const char *path) {
    const char *root = getenv("CRASH_ROOT");
    size_t length = root ? strlen(root) : 0;
    return length && !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

static int of_descriptor(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, 4095);
    if (length < 0) return 0;
    path[length] = 0;
    return below_root(path);
}

static int of_name(const char *name, char *path) {
    if (name[0] == '/') snprintf(path, 4096, "%s", name);
    else {
        char here[2048];
        if (!getcwd(here, sizeof here)) return 0;
        snprintf(path, 4096, "%s/%s", here, name);
    }
    return below_root(path);
}

static void append(char kind, const char *path, const char *other, uint64_t offset, const void *data, size_t size) {
    if (journal < 0) return;
    struct { uint32_t kind, path, other, size; uint64_t offset; } head = {
        (uint32_t)kind, (uint32_t)strlen(path), (uint32_t)strlen(other), (uint32_t)size, offset};
    struct iovec parts[4] = {{&head, sizeof head}, {(void *)path, head.path}, {(void *)other, head.other}, {(void *)data, size}};
    if (syscall(SYS_writev, journal, parts, 4) < 0) abort();
}

/* 0: go on; 1: fail with errno set; 2: half of the data only; 3: the same, and then die. */
static int gate(int has_data) {
    count++;
    if (!target || count != target) return 0;
    if (action > 0) { errno = action; return 1; }
    if (action == KILL || !has_data) { if (action == SHORT) return 0; die(); }
    return action == SHORT ? 2 : 3;
}

void crash_arm(long at, int what) { target = at; action = what; count = 0; }
long crash_count(void) { return count; }
void crash_log(const char *path) { journal = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600); }
void crash_note(const char *text) {
    pthread_mutex_lock(&lock);
    append('N', text, "", 0, "", 0);
    pthread_mutex_unlock(&lock);
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define GUARDED(watched, has_data, call, record)          \
    if (!(watched)) return call(1);                       \
    pthread_mutex_lock(&lock);                            \
    int gated = gate(has_data);                           \
    __typeof__(call(1)) result = gated == 1 ? -1 : call(gated ? 2 : 1); \
    int saved = errno;                                    \
    if (result >= 0) { record; }                          \
    if (gated == 3) die();                                \
    pthread_mutex_unlock(&lock);                          \
    errno = saved;                                        \
    return result;

#define PWRITE(name, offset_type)                                                                   \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset) {                       \
        REAL(name); char path[4096];                                                                \
        PWRITE_BODY                                                                                 \
    }
#define CALL(part) real(fd, data, (part) == 1 ? size : (size + 1) / 2, offset)
#define PWRITE_BODY GUARDED(of_descriptor(fd, path), 1, CALL, append('W', path, "", (uint64_t)offset, data, (size_t)result))
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
#undef CALL

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write); char path[4096];
    off_t offset = of_descriptor(fd, path) ? lseek(fd, 0, SEEK_CUR) : 0;
#define CALL(part) real(fd, data, (part) == 1 ? size : (size + 1) / 2)
    GUARDED(of_descriptor(fd, path), 1, CALL, append('W', path, "", (uint64_t)offset, data, (size_t)result))
#undef CALL
}

#define ON_DESCRIPTOR(name, kind)                                                    \
    int name(int fd) {                                                               \
        REAL(name); char path[4096];                                                 \
        GUARDED(of_descriptor(fd, path), 0, CALL, append(kind, path, "", 0, "", 0))  \
    }
#define CALL(part) real(fd)
ON_DESCRIPTOR(fsync, 'S')
ON_DESCRIPTOR(fdatasync, 'S')
#undef CALL

#define TRUNCATE(name, offset_type)                                                                      \
    int name(int fd, offset_type size) {                                                                 \
        REAL(name); char path[4096];                                                                     \
        GUARDED(of_descriptor(fd, path), 0, CALL, append('T', path, "", (uint64_t)size, "", 0))          \
    }
#define CALL(part) real(fd, size)
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)
#undef CALL

#define ON_NAME(name, kind)                                                          \
    int name(const char *old) {                                                      \
        REAL(name); char path[4096];                                                 \
        GUARDED(of_name(old, path), 0, CALL, append(kind, path, "", 0, "", 0))       \
    }
#define CALL(part) real(old)
ON_NAME(unlink, 'U')
#undef CALL

int mkdir(const char *old, mode_t mode) {
    REAL(mkdir); char path[4096];
#define CALL(part) real(old, mode)
    GUARDED(of_name(old, path), 0, CALL, append('D', path, "", 0, "", 0))
#undef CALL
}

#define ON_NAMES(name, kind)                                                                                  \
    int name(const char *old, const char *new) {                                                              \
        REAL(name); char path[4096], other[4096];                                                             \
        GUARDED(of_name(old, path) && of_name(new, other), 0, CALL, append(kind, path, other, 0, "", 0))      \
    }
#define CALL(part) real(old, new)
ON_NAMES(rename, 'R')
ON_NAMES(link, 'L')
#undef CALL

/* Only what makes a file: a name that is there is opened without being counted. */
static int makes(const char *name, int flags, char *path) {
    struct stat found;
    return flags & O_CREAT && of_name(name, path) && syscall(SYS_newfstatat, AT_FDCWD, path, &found, 0) < 0;
}
#define OPEN(name)                                                                             \
    int name(const char *old, int flags, ...) {                                                \
        REAL(name); char path[4096]; va_list rest; va_start(rest, flags);                      \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; va_end(rest);  \
        GUARDED(makes(old, flags, path), 0, CALL, append('C', path, "", 0, "", 0))             \
    }
#define CALL(part) real(old, flags, mode)
OPEN(open)
OPEN(open64)
#undef CALL
#define OPENAT(name)                                                                           \
    int name(int at, const char *old, int flags, ...) {                                        \
        REAL(name); char path[4096]; va_list rest; va_start(rest, flags);                      \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; va_end(rest);  \
        GUARDED(makes(old, flags, path), 0, CALL, append('C', path, "", 0, "", 0))             \
    }
#define CALL(part) real(at, old, flags, mode)
OPENAT(openat)
OPENAT(openat64)
