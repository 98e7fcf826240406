/* Preloaded into a process under test: notes every change to files below $HANGAR_TRACE_ROOT, in
 * order, into $HANGAR_TRACE_LOG. A record is a line "op a b offset size flags", then size bytes. */
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

static int below_root(const char *path) {
    const char *root = getenv("HANGAR_TRACE_ROOT");
    return root && strncmp(path, root, strlen(root)) == 0;
}

static int fd_path(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    if (n <= 0) return 0;
    out[n] = 0;
    return below_root(out);
}

static void at_path(int dir, const char *path, char *out) {
    char base[PATH_MAX] = "";
    if (path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
        return;
    }
    if (dir == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) base[0] = 0;
    } else {
        fd_path(dir, base);
    }
    snprintf(out, PATH_MAX, "%.2000s/%.2000s", base, path);
}

static void note(const char *op, const char *a, const char *b, long offset, const void *data,
                 size_t size, int flags) {
    const char *log = getenv("HANGAR_TRACE_LOG");
    if (!log) return;
    int saved = errno;
    int fd = REAL(open)(log, O_WRONLY | O_APPEND | O_CREAT, 0666);
    flock(fd, LOCK_EX);
    char head[2 * PATH_MAX + 128];
    int n = snprintf(head, sizeof head, "%s\t%s\t%s\t%ld\t%zu\t%d\n", op, a, b, offset, size, flags);
    REAL(write)(fd, head, n);
    if (size) REAL(write)(fd, data, size);
    REAL(close)(fd);
    errno = saved;
}

static int opened(int fd, int dir, const char *path, int flags) {
    if (fd >= 0 && (flags & (O_CREAT | O_TRUNC))) {
        char full[PATH_MAX];
        at_path(dir, path, full);
        if (below_root(full)) note("open", full, "-", 0, NULL, 0, flags);
    }
    return fd;
}

#define MODE(flags, last)                                       \
    mode_t mode = 0;                                            \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                      \
        va_list args;                                           \
        va_start(args, last);                                   \
        mode = va_arg(args, int);                               \
        va_end(args);                                           \
    }

int open(const char *path, int flags, ...) {
    MODE(flags, flags)
    return opened(REAL(open)(path, flags, mode), AT_FDCWD, path, flags);
}
int open64(const char *path, int flags, ...) {
    MODE(flags, flags)
    return opened(REAL(open64)(path, flags, mode), AT_FDCWD, path, flags);
}
int openat(int dir, const char *path, int flags, ...) {
    MODE(flags, flags)
    return opened(REAL(openat)(dir, path, flags, mode), dir, path, flags);
}
int openat64(int dir, const char *path, int flags, ...) {
    MODE(flags, flags)
    return opened(REAL(openat64)(dir, path, flags, mode), dir, path, flags);
}
int creat(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int mkstemp(char *template) {
    int fd = REAL(mkstemp)(template);
    return opened(fd, AT_FDCWD, template, O_CREAT | O_EXCL);
}

static void wrote(int fd, const void *data, ssize_t size, off_t offset) {
    char path[PATH_MAX];
    if (size > 0 && fd_path(fd, path)) {
        int flags = fcntl(fd, F_GETFL);
        note("write", path, "-", offset, data, size, flags);
    }
}

ssize_t write(int fd, const void *data, size_t size) {
    ssize_t done = REAL(write)(fd, data, size);
    if (done > 0) {
        off_t end = lseek(fd, 0, SEEK_CUR);
        if (end >= done) wrote(fd, data, done, end - done);
    }
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    ssize_t done = REAL(pwrite)(fd, data, size, offset);
    wrote(fd, data, done, offset);
    return done;
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    ssize_t done = REAL(pwrite64)(fd, data, size, offset);
    wrote(fd, data, done, offset);
    return done;
}
static void wrote_all(int fd, const struct iovec *parts, int count, ssize_t done, off_t offset) {
    for (int i = 0; i < count && done > 0; i++) {
        ssize_t size = (ssize_t)parts[i].iov_len < done ? (ssize_t)parts[i].iov_len : done;
        wrote(fd, parts[i].iov_base, size, offset);
        offset += size;
        done -= size;
    }
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    ssize_t done = REAL(writev)(fd, parts, count);
    if (done > 0) {
        off_t end = lseek(fd, 0, SEEK_CUR);
        if (end >= done) wrote_all(fd, parts, count, done, end - done);
    }
    return done;
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    ssize_t done = REAL(pwritev)(fd, parts, count, offset);
    wrote_all(fd, parts, count, done, offset);
    return done;
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    ssize_t done = REAL(pwritev64)(fd, parts, count, offset);
    wrote_all(fd, parts, count, done, offset);
    return done;
}

static int on_fd(const char *op, int fd, int result, long offset) {
    char path[PATH_MAX];
    if (result == 0 && fd_path(fd, path)) note(op, path, "-", offset, NULL, 0, 0);
    return result;
}
int fsync(int fd) { return on_fd("fsync", fd, REAL(fsync)(fd), 0); }
int fdatasync(int fd) { return on_fd("fsync", fd, REAL(fdatasync)(fd), 0); }
int ftruncate(int fd, off_t size) { return on_fd("truncate", fd, REAL(ftruncate)(fd, size), size); }
int ftruncate64(int fd, off64_t size) {
    return on_fd("truncate", fd, REAL(ftruncate64)(fd, size), size);
}

static int on_paths(const char *op, int dir, const char *a, int other, const char *b, int result) {
    char one[PATH_MAX], two[PATH_MAX] = "-";
    at_path(dir, a, one);
    if (b) at_path(other, b, two);
    if (result == 0 && below_root(one)) note(op, one, two, 0, NULL, 0, 0);
    return result;
}
int rename(const char *a, const char *b) {
    return on_paths("rename", AT_FDCWD, a, AT_FDCWD, b, REAL(rename)(a, b));
}
int renameat(int da, const char *a, int db, const char *b) {
    return on_paths("rename", da, a, db, b, REAL(renameat)(da, a, db, b));
}
int link(const char *a, const char *b) {
    return on_paths("link", AT_FDCWD, a, AT_FDCWD, b, REAL(link)(a, b));
}
int linkat(int da, const char *a, int db, const char *b, int flags) {
    return on_paths("link", da, a, db, b, REAL(linkat)(da, a, db, b, flags));
}
int unlink(const char *a) { return on_paths("unlink", AT_FDCWD, a, 0, NULL, REAL(unlink)(a)); }
int unlinkat(int d, const char *a, int flags) {
    return on_paths("unlink", d, a, 0, NULL, REAL(unlinkat)(d, a, flags));
}
int rmdir(const char *a) { return on_paths("unlink", AT_FDCWD, a, 0, NULL, REAL(rmdir)(a)); }
int mkdir(const char *a, mode_t m) {
    return on_paths("mkdir", AT_FDCWD, a, 0, NULL, REAL(mkdir)(a, m));
}
int mkdirat(int d, const char *a, mode_t m) {
    return on_paths("mkdir", d, a, 0, NULL, REAL(mkdirat)(d, a, m));
}
