/* A disk that fails: counts what a process changes below one folder, and has the n-th change and, where asked, all
 * after it fail. Loaded before the C library; Python, SQLite, Pillow and torch all come through it.
 *
 * A write that fails writes half of what it was given first, as a disk does that fills in the middle. A negative error
 * has the process killed there instead.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[4096];
static long counted, first;
static int number, lasts;

/* first: which change fails, from 1; 0 for none. number: of the error. lasts: whether all later ones fail too. */
void fault_arm(const char *below, long n, int error, int for_ever) {
    snprintf(folder, sizeof folder, "%s", below);
    counted = 0, first = n, number = error, lasts = for_ever;
}

long fault_count(void) { return counted; }

static int fails(void) {
    counted++;
    if (!first || counted < first || (counted > first && !lasts)) return 0;
    if (number < 0) raise(SIGKILL);
    errno = number;
    return 1;
}

static int is_below(const char *path) {
    char whole[4096];
    if (!folder[0] || !path) return 0;
    if (path[0] != '/') {
        if (!getcwd(whole, sizeof whole)) return 0;
        return !strncmp(whole, folder, strlen(folder));
    }
    return !strncmp(path, folder, strlen(folder));
}

static int is_ours(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (!folder[0] || length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define WRITE(name, size, given, ...)                                                        \
    {                                                                                        \
        if (!is_ours(file)) return REAL(name)(file, data, given, ##__VA_ARGS__);             \
        int half = first && counted + 1 == first && (given) > 1;                             \
        if (half && number < 0) REAL(name)(file, data, (given) / 2, ##__VA_ARGS__);          \
        if (!fails()) return REAL(name)(file, data, given, ##__VA_ARGS__);                   \
        return half ? REAL(name)(file, data, (given) / 2, ##__VA_ARGS__) : -1;               \
    }

ssize_t write(int file, const void *data, size_t n) WRITE(write, n, n)
ssize_t pwrite(int file, const void *data, size_t n, off_t at) WRITE(pwrite, n, n, at)
ssize_t pwrite64(int file, const void *data, size_t n, off64_t at) WRITE(pwrite64, n, n, at)

#define PLAIN(kind, name, of, test, parameters, ...)                                         \
    kind name parameters {                                                                   \
        return test(of) && fails() ? (kind)-1 : REAL(name)(__VA_ARGS__);                     \
    }

PLAIN(int, fsync, file, is_ours, (int file), file)
PLAIN(int, fdatasync, file, is_ours, (int file), file)
PLAIN(int, ftruncate, file, is_ours, (int file, off_t n), file, n)
PLAIN(int, ftruncate64, file, is_ours, (int file, off64_t n), file, n)
PLAIN(ssize_t, writev, file, is_ours, (int file, const struct iovec *parts, int n), file, parts, n)
PLAIN(ssize_t, sendfile, file, is_ours, (int file, int from, off_t *at, size_t n), file, from, at, n)
PLAIN(ssize_t, sendfile64, file, is_ours, (int file, int from, off64_t *at, size_t n), file, from, at, n)
PLAIN(ssize_t, copy_file_range, file, is_ours, (int from, off64_t *a, int file, off64_t *b, size_t n, unsigned f),
      from, a, file, b, n, f)
PLAIN(int, mkdir, path, is_below, (const char *path, mode_t mode), path, mode)
PLAIN(int, mkdirat, path, is_below, (int at, const char *path, mode_t mode), at, path, mode)
PLAIN(int, rename, to, is_below, (const char *from, const char *to), from, to)
PLAIN(int, renameat, to, is_below, (int a, const char *from, int b, const char *to), a, from, b, to)

#define OPEN(name, ...)                                                                      \
    {                                                                                        \
        mode_t mode = 0;                                                                     \
        if (flags & O_CREAT) {                                                               \
            va_list more;                                                                    \
            va_start(more, flags);                                                           \
            mode = va_arg(more, mode_t);                                                     \
            va_end(more);                                                                    \
            if (is_below(path) && access(path, F_OK) && fails()) return -1;                  \
        }                                                                                    \
        return REAL(name)(__VA_ARGS__, mode);                                                \
    }

int open(const char *path, int flags, ...) OPEN(open, path, flags)
int open64(const char *path, int flags, ...) OPEN(open64, path, flags)
int openat(int at, const char *path, int flags, ...) OPEN(openat, at, path, flags)
int openat64(int at, const char *path, int flags, ...) OPEN(openat64, at, path, flags)
