/* Preloaded into a process under test: counts the calls that change files below
 * $HANGAR_FAULT_ROOT, over all its processes, and makes some fail. $HANGAR_FAULT_LOG gets a line
 * "kind" for each; $HANGAR_FAULT is "kind number errno": that call of the kind fails, with errno
 * "short" it writes one byte only, and a "+" before the errno makes all later ones fail, too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int below(const char *path) {
    const char *root = getenv("HANGAR_FAULT_ROOT");
    return root && strncmp(path, root, strlen(root)) == 0;
}

static int fd_below(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return below(path);
}

static int path_below(int dir, const char *path) {
    char base[PATH_MAX] = "", full[2 * PATH_MAX];
    if (path[0] == '/') return below(path);
    if (dir != AT_FDCWD) return fd_below(dir);
    if (!getcwd(base, sizeof base)) return 0;
    snprintf(full, sizeof full, "%s/%s", base, path);
    return below(full);
}

/* Whether this call is to fail: 0 no, -1 short, else an errno. */
static int fault(const char *kind) {
    const char *log = getenv("HANGAR_FAULT_LOG"), *wanted = getenv("HANGAR_FAULT");
    if (!log) return 0;
    int saved = errno, number = 0;
    int fd = REAL(open)(log, O_RDWR | O_APPEND | O_CREAT, 0666);
    flock(fd, LOCK_EX);
    char line[32], wanted_kind[32] = "", how[32] = "";
    int length = snprintf(line, sizeof line, "%-9s\n", kind), wanted_number = 0, result = 0;
    REAL(write)(fd, line, length);
    if (wanted && sscanf(wanted, "%31s %d %31s", wanted_kind, &wanted_number, how) == 3 &&
        strcmp(kind, wanted_kind) == 0) {
        char seen[11];
        off_t at = 0;
        while (pread(fd, seen, 10, at) == 10) {
            number += strncmp(seen, line, 10) == 0;
            at += 10;
        }
        const char *name = how[0] == '+' ? how + 1 : how;
        if (number == wanted_number || (how[0] == '+' && number > wanted_number))
            result = strcmp(name, "short") == 0 ? -1 : strcmp(name, "ENOSPC") == 0 ? ENOSPC
                     : strcmp(name, "EROFS") == 0 ? EROFS : EIO;
    }
    REAL(close)(fd);
    errno = saved;
    return result;
}

#define FAIL_IF(condition, kind)                  \
    if (condition) {                              \
        int error = fault(kind);                  \
        if (error > 0) {                          \
            errno = error;                        \
            return -1;                            \
        }                                         \
    }

#define OPEN(dir, path, flags, last, call)                                   \
    mode_t mode = 0;                                                         \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                   \
        va_list args;                                                        \
        va_start(args, last);                                                \
        mode = va_arg(args, int);                                            \
        va_end(args);                                                        \
    }                                                                        \
    FAIL_IF(((flags) & O_CREAT) && path_below(dir, path), "create")          \
    return call;

int open(const char *path, int flags, ...) {
    OPEN(AT_FDCWD, path, flags, flags, REAL(open)(path, flags, mode))
}
int open64(const char *path, int flags, ...) {
    OPEN(AT_FDCWD, path, flags, flags, REAL(open64)(path, flags, mode))
}
int openat(int dir, const char *path, int flags, ...) {
    OPEN(dir, path, flags, flags, REAL(openat)(dir, path, flags, mode))
}
int openat64(int dir, const char *path, int flags, ...) {
    OPEN(dir, path, flags, flags, REAL(openat64)(dir, path, flags, mode))
}
int mkstemp(char *template) {
    FAIL_IF(path_below(AT_FDCWD, template), "create")
    return REAL(mkstemp)(template);
}
int mkdir(const char *path, mode_t mode) {
    FAIL_IF(path_below(AT_FDCWD, path), "create")
    return REAL(mkdir)(path, mode);
}

#define WRITE(fd, size, full, one)                \
    if (fd_below(fd)) {                           \
        int error = fault("write");               \
        if (error > 0) {                          \
            errno = error;                        \
            return -1;                            \
        }                                         \
        if (error < 0 && (size) > 1) return one;  \
    }                                             \
    return full;

ssize_t write(int fd, const void *data, size_t size) {
    WRITE(fd, size, REAL(write)(fd, data, size), REAL(write)(fd, data, 1))
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    WRITE(fd, size, REAL(pwrite)(fd, data, size, at), REAL(pwrite)(fd, data, 1, at))
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    WRITE(fd, size, REAL(pwrite64)(fd, data, size, at), REAL(pwrite64)(fd, data, 1, at))
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    WRITE(fd, 2, REAL(writev)(fd, parts, count), REAL(write)(fd, parts[0].iov_base, 1))
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    WRITE(fd, 2, REAL(pwritev)(fd, parts, count, at), REAL(pwrite)(fd, parts[0].iov_base, 1, at))
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    WRITE(fd, 2, REAL(pwritev64)(fd, parts, count, at), REAL(pwrite)(fd, parts[0].iov_base, 1, at))
}
int fsync(int fd) {
    FAIL_IF(fd_below(fd), "fsync")
    return REAL(fsync)(fd);
}
int fdatasync(int fd) {
    FAIL_IF(fd_below(fd), "fsync")
    return REAL(fdatasync)(fd);
}
int ftruncate(int fd, off_t size) {
    FAIL_IF(fd_below(fd), "truncate")
    return REAL(ftruncate)(fd, size);
}
int ftruncate64(int fd, off64_t size) {
    FAIL_IF(fd_below(fd), "truncate")
    return REAL(ftruncate64)(fd, size);
}
int rename(const char *from, const char *to) {
    FAIL_IF(path_below(AT_FDCWD, to), "rename")
    return REAL(rename)(from, to);
}
int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    FAIL_IF(path_below(to_dir, to), "rename")
    return REAL(renameat)(from_dir, from, to_dir, to);
}
int link(const char *from, const char *to) {
    FAIL_IF(path_below(AT_FDCWD, to), "link")
    return REAL(link)(from, to);
}
int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    FAIL_IF(path_below(to_dir, to), "link")
    return REAL(linkat)(from_dir, from, to_dir, to, flags);
}
int unlink(const char *path) {
    FAIL_IF(path_below(AT_FDCWD, path), "unlink")
    return REAL(unlink)(path);
}
int unlinkat(int dir, const char *path, int flags) {
    FAIL_IF(path_below(dir, path), "unlink")
    return REAL(unlinkat)(dir, path, flags);
}
