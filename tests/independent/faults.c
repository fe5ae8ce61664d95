/* Faults of a disk and of a clock for one process, without a device or the right to mount:
 *
 *     cc -shared -fPIC -o faults.so faults.c
 *     LD_PRELOAD=faults.so FAULTS_CONTROL=FILE FAULTS_OUTBOX=FOLDER FAULTS_STATE=PREFIX \
 *         FAULTS_AUDIT=FOLDER program
 *
 * FILE holds a `struct control` that whoever tests writes while the program runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct control {
    /* What writes and reads answer with; 0: as they should. */
    int32_t write_error, read_error;
    /* Which files are concerned. */
    int32_t outbox, state, audit, unused;
    /* Seconds that the wall clock is ahead. */
    int64_t clock;
};

static volatile struct control none, *control = &none;
static const char *outbox, *state, *audit;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("FAULTS_CONTROL");
    outbox = getenv("FAULTS_OUTBOX");
    state = getenv("FAULTS_STATE");
    audit = getenv("FAULTS_AUDIT");
    int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) control = at;
    close(fd);
}

static int begins(const char *path, const char *with) {
    return with && !strncmp(path, with, strlen(with));
}

static int path_fails(const char *path) {
    return (control->outbox && begins(path, outbox)) || (control->state && begins(path, state)) ||
           (control->audit && begins(path, audit));
}

static int fails(int fd) {
    char link[64], path[4096];
    if (fd <= 2 || !(control->outbox || control->state || control->audit)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return path_fails(path);
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define FAIL(error, condition) \
    if ((error) != 0 && (condition)) { errno = (error); return -1; }

ssize_t write(int fd, const void *data, size_t n) {
    REAL(write);
    FAIL(control->write_error, fails(fd));
    return real(fd, data, n);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    REAL(pwrite64);
    FAIL(control->write_error, fails(fd));
    return real(fd, data, n, at);
}

ssize_t read(int fd, void *data, size_t n) {
    REAL(read);
    FAIL(control->read_error, fails(fd));
    return real(fd, data, n);
}

ssize_t pread64(int fd, void *data, size_t n, off64_t at) {
    REAL(pread64);
    FAIL(control->read_error, fails(fd));
    return real(fd, data, n, at);
}

int fsync(int fd) {
    REAL(fsync);
    FAIL(control->write_error, fails(fd));
    return real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    FAIL(control->write_error, fails(fd));
    return real(fd);
}

int ftruncate64(int fd, off64_t length) {
    REAL(ftruncate64);
    FAIL(control->write_error, fails(fd));
    return real(fd, length);
}

int open64(const char *path, int flags, ...) {
    REAL(open64);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    /* A full disk makes no new file; one that is read-only opens none for writing. */
    int kind = control->write_error == EROFS ? O_CREAT | O_WRONLY | O_RDWR : O_CREAT;
    FAIL(control->write_error, (flags & kind) && path_fails(path));
    return real(path, flags, mode);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    FAIL(control->write_error, path_fails(to));
    return real(from, to);
}

int unlink(const char *path) {
    REAL(unlink);
    FAIL(EROFS, control->write_error == EROFS && path_fails(path));
    return real(path);
}

int clock_gettime(clockid_t which, struct timespec *at) {
    REAL(clock_gettime);
    int outcome = real(which, at);
    if (!outcome && which == CLOCK_REALTIME) at->tv_sec += control->clock;
    return outcome;
}
