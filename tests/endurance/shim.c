/* Faults at chosen system calls: preloaded with LD_PRELOAD, armed through ctypes.
 *
 * Every call that changes files under a folder is a point, counted from 1 after arming. At the chosen point the
 * process is killed (before the call, or in the middle of a write), its group is asked to stop, or the call fails with an
 * error: once, or from then on. With a log, each call is written down with its data, for the simulation of a power loss.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT = 0, KILL = 1, TEAR = 2, FAIL_ONCE = 3, FAIL_FROM = 4, STOP = 5 };

static char folder[PATH_MAX];
static int mode, armed, failure, log_file = -1;
static long point, count;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }
#define REAL(type, name) ((type)real(#name))

void shim_arm(const char *under, int how, long where, int error_number) {
    snprintf(folder, sizeof folder, "%s", under);
    mode = how;
    point = where;
    failure = error_number;
    count = 0;
    armed = 1;
}

void shim_log(const char *path) {
    log_file = REAL(int (*)(const char *, int, ...), open)(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
}

void shim_disarm(void) { armed = 0; }

static int inside(const char *path) {
    size_t length = strlen(folder);
    return armed && strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static void path_of(int descriptor, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, out, PATH_MAX - 1);
    out[length < 0 ? 0 : length] = 0;
}

static void absolute(int at, const char *path, char *out) {
    char base[PATH_MAX];
    if (path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
        return;
    }
    if (at == AT_FDCWD) {
        if (getcwd(base, sizeof base) == NULL) base[0] = 0;
    } else {
        path_of(at, base);
    }
    if (snprintf(out, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) out[0] = 0;
}

static void put(const void *data, size_t length) {
    REAL(ssize_t (*)(int, const void *, size_t), write)(log_file, data, length);
}

static void note(const char *call, const char *path, const char *other, long offset, const void *data, size_t length) {
    if (log_file < 0) return;
    char head[3 * PATH_MAX];
    int size = snprintf(head, sizeof head, "%s%c%s%c%s%c%ld%c%zu\n", call, 0, path, 0, other, 0, offset, 0, length);
    put(head, (size_t)size);
    if (length) put(data, length);
}

/* 0: go on; 1: fail with errno; 2: write half and die. */
static int reached(int allocates) {
    count++;
    if (mode == KILL && count == point) kill(getpid(), SIGKILL);
    if (mode == STOP && count == point) kill(0, SIGTERM);
    if (mode == TEAR && count == point) return 2;
    if ((mode == FAIL_ONCE && count == point) || (mode == FAIL_FROM && count >= point)) {
        if (failure != ENOSPC || allocates) {
            errno = failure;
            return 1;
        }
    }
    return 0;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    pause();
}

ssize_t write(int descriptor, const void *data, size_t length) {
    ssize_t (*call)(int, const void *, size_t) = REAL(ssize_t (*)(int, const void *, size_t), write);
    char path[PATH_MAX];
    if (!armed) return call(descriptor, data, length);
    path_of(descriptor, path);
    if (!inside(path)) return call(descriptor, data, length);
    int fate = reached(1);
    if (fate == 1) return -1;
    if (fate == 2) {
        call(descriptor, data, length / 2);
        die();
    }
    struct stat status;
    int append = fcntl(descriptor, F_GETFL) & O_APPEND;
    long offset = append && fstat(descriptor, &status) == 0 ? status.st_size : lseek(descriptor, 0, SEEK_CUR);
    ssize_t written = call(descriptor, data, length);
    note(written > 0 ? "write" : "failed", path, "", offset, data, written > 0 ? (size_t)written : 0);
    return written;
}

ssize_t pwrite64(int descriptor, const void *data, size_t length, off64_t offset) {
    ssize_t (*call)(int, const void *, size_t, off64_t) =
        REAL(ssize_t (*)(int, const void *, size_t, off64_t), pwrite64);
    char path[PATH_MAX];
    path_of(descriptor, path);
    if (!inside(path)) return call(descriptor, data, length, offset);
    int fate = reached(1);
    if (fate == 1) return -1;
    if (fate == 2) {
        call(descriptor, data, length / 2, offset);
        die();
    }
    ssize_t written = call(descriptor, data, length, offset);
    note(written > 0 ? "write" : "failed", path, "", offset, data, written > 0 ? (size_t)written : 0);
    return written;
}
ssize_t pwrite(int d, const void *data, size_t n, off_t offset) { return pwrite64(d, data, n, offset); }

ssize_t writev(int descriptor, const struct iovec *parts, int number) {
    ssize_t total = 0;
    for (int i = 0; i < number; i++) {
        ssize_t written = write(descriptor, parts[i].iov_base, parts[i].iov_len);
        if (written < 0) return total ? total : -1;
        total += written;
        if ((size_t)written < parts[i].iov_len) break;
    }
    return total;
}

static int synced(int descriptor, const char *name) {
    char path[PATH_MAX];
    path_of(descriptor, path);
    if (!inside(path)) return ((int (*)(int))real(name))(descriptor);
    int fate = reached(1);
    if (fate == 1) return -1;
    if (fate == 2) die();
    /* The disk is not what is tested here, and waiting for it is most of the time. */
    note("fsync", path, "", 0, "", 0);
    return 0;
}
int fsync(int descriptor) { return synced(descriptor, "fsync"); }
int fdatasync(int descriptor) { return synced(descriptor, "fdatasync"); }

int ftruncate64(int descriptor, off64_t length) {
    char path[PATH_MAX];
    path_of(descriptor, path);
    int (*call)(int, off64_t) = REAL(int (*)(int, off64_t), ftruncate64);
    if (!inside(path)) return call(descriptor, length);
    int fate = reached(0);
    if (fate == 1) return -1;
    if (fate == 2) die();
    int result = call(descriptor, length);
    note(result == 0 ? "truncate" : "failed", path, "", length, "", 0);
    return result;
}
int ftruncate(int descriptor, off_t length) { return ftruncate64(descriptor, length); }

static int moved(int at, const char *from, int to_at, const char *to) {
    char source[PATH_MAX], target[PATH_MAX];
    absolute(at, from, source);
    absolute(to_at, to, target);
    int (*call)(int, const char *, int, const char *) = REAL(int (*)(int, const char *, int, const char *), renameat);
    if (!inside(source) && !inside(target)) return call(at, from, to_at, to);
    int fate = reached(0);
    if (fate == 1) return -1;
    if (fate == 2) die();
    int result = call(at, from, to_at, to);
    note(result == 0 ? "rename" : "failed", source, target, 0, "", 0);
    return result;
}
int rename(const char *from, const char *to) { return moved(AT_FDCWD, from, AT_FDCWD, to); }
int renameat(int at, const char *from, int to_at, const char *to) { return moved(at, from, to_at, to); }

int unlinkat(int at, const char *name, int flags) {
    char path[PATH_MAX];
    absolute(at, name, path);
    int (*call)(int, const char *, int) = REAL(int (*)(int, const char *, int), unlinkat);
    if (!inside(path)) return call(at, name, flags);
    int fate = reached(0);
    if (fate == 1) return -1;
    if (fate == 2) die();
    int result = call(at, name, flags);
    note(result == 0 ? "unlink" : "failed", path, "", 0, "", 0);
    return result;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int at, const char *name, mode_t permissions) {
    char path[PATH_MAX];
    absolute(at, name, path);
    int (*call)(int, const char *, mode_t) = REAL(int (*)(int, const char *, mode_t), mkdirat);
    if (!inside(path)) return call(at, name, permissions);
    int fate = reached(1);
    if (fate == 1) return -1;
    if (fate == 2) die();
    int result = call(at, name, permissions);
    note(result == 0 ? "mkdir" : "failed", path, "", 0, "", 0);
    return result;
}
int mkdir(const char *path, mode_t permissions) { return mkdirat(AT_FDCWD, path, permissions); }

static int opened(int at, const char *name, int flags, mode_t permissions) {
    char path[PATH_MAX];
    int (*call)(int, const char *, int, ...) = REAL(int (*)(int, const char *, int, ...), openat64);
    if (!armed || !(flags & (O_CREAT | O_TRUNC))) return call(at, name, flags, permissions);
    absolute(at, name, path);
    if (!inside(path)) return call(at, name, flags, permissions);
    struct stat status;
    int there = stat(path, &status) == 0;
    if (there && !(flags & O_TRUNC)) return call(at, name, flags, permissions);
    int fate = reached(!there);
    if (fate == 1) return -1;
    if (fate == 2) die();
    int result = call(at, name, flags, permissions);
    note(result < 0 ? "failed" : there ? "truncate" : "create", path, "", 0, "", 0);
    return result;
}

#define PERMISSIONS(last)                    \
    mode_t permissions = 0;                  \
    if (flags & (O_CREAT | __O_TMPFILE)) {   \
        va_list rest;                        \
        va_start(rest, last);                \
        permissions = va_arg(rest, mode_t);  \
        va_end(rest);                        \
    }

int open(const char *path, int flags, ...) {
    PERMISSIONS(flags)
    return opened(AT_FDCWD, path, flags, permissions);
}
int open64(const char *path, int flags, ...) {
    PERMISSIONS(flags)
    return opened(AT_FDCWD, path, flags, permissions);
}
int openat(int at, const char *path, int flags, ...) {
    PERMISSIONS(flags)
    return opened(at, path, flags, permissions);
}
int openat64(int at, const char *path, int flags, ...) {
    PERMISSIONS(flags)
    return opened(at, path, flags, permissions);
}
