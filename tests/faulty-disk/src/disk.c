/* Stands between a program and the C library (LD_PRELOAD) and has calls for the files below one folder fail, or not come
 * back, as the kernel's would on a disk that is full, read-only or broken. Everything else goes through.
 *
 * FAULTY_DISK          the folder
 * FAULTY_DISK_FAULTS   another folder; while there is a file of this name in it:
 *     full             what would make a file longer, or a new one, fails with ENOSPC
 *     read-only        what opens a file to write it, or changes a folder, fails with EROFS
 *     hangs            fsync and fdatasync do not come back
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_there(const char *path)
{
    int before = errno;
    int there = faccessat(AT_FDCWD, path, F_OK, AT_EACCESS) == 0 || errno == EACCES;
    errno = before;
    return there;
}

static int is_in_force(const char *fault)
{
    char path[PATH_MAX];
    const char *faults = getenv("FAULTY_DISK_FAULTS");
    struct stat found;
    int before = errno;
    if (!faults || snprintf(path, sizeof path, "%s/%s", faults, fault) >= (int)sizeof path)
        return 0;
    int there = stat(path, &found) == 0;
    errno = before;
    return there;
}

static int is_on_disk(const char *path)
{
    const char *disk = getenv("FAULTY_DISK");
    return disk && path && strncmp(path, disk, strlen(disk)) == 0 && path[strlen(disk)] == '/';
}

static int is_file_on_disk(int file)
{
    char link[64], path[PATH_MAX];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_on_disk(path);
}

static int fails(int error)
{
    errno = error;
    return -1;
}

/* Whether a file may not become so long. */
static int has_no_room(int file, off_t end)
{
    struct stat found;
    return is_in_force("full") && is_file_on_disk(file) && fstat(file, &found) == 0 && found.st_size < end;
}

static int refuses_to_open(const char *path, int flags)
{
    int exists;
    if (!is_on_disk(path))
        return 0;
    exists = is_there(path);
    if (exists && (flags & O_CREAT) && (flags & O_EXCL))
        return EEXIST;
    if (is_in_force("read-only") && ((flags & O_ACCMODE) != O_RDONLY || ((flags & O_CREAT) && !exists)))
        return (flags & O_CREAT) || exists ? EROFS : ENOENT;
    if (is_in_force("full") && (flags & O_CREAT) && !exists)
        return ENOSPC;
    return 0;
}

#define OPENS(name)                                                                                                    \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                        \
        va_end(rest);                                                                                                  \
        int error = refuses_to_open(path, flags);                                                                      \
        return error ? fails(error) : REAL(name)(path, flags, mode);                                                   \
    }
OPENS(open)
OPENS(open64)

ssize_t write(int file, const void *bytes, size_t count)
{
    if (has_no_room(file, lseek(file, 0, SEEK_CUR) + (off_t)count))
        return fails(ENOSPC);
    return REAL(write)(file, bytes, count);
}

#define WRITES_AT(name)                                                                                                \
    ssize_t name(int file, const void *bytes, size_t count, off_t at)                                                  \
    {                                                                                                                  \
        return has_no_room(file, at + (off_t)count) ? fails(ENOSPC) : REAL(name)(file, bytes, count, at);              \
    }
WRITES_AT(pwrite)
WRITES_AT(pwrite64)

#define CUTS(name)                                                                                                     \
    int name(int file, off_t length)                                                                                   \
    {                                                                                                                  \
        return has_no_room(file, length) ? fails(ENOSPC) : REAL(name)(file, length);                                   \
    }
CUTS(ftruncate)
CUTS(ftruncate64)

#define SYNCS(name)                                                                                                    \
    int name(int file)                                                                                                 \
    {                                                                                                                  \
        while (is_in_force("hangs") && is_file_on_disk(file))                                                          \
            usleep(1000);                                                                                              \
        return REAL(name)(file);                                                                                       \
    }
SYNCS(fsync)
SYNCS(fdatasync)

int unlink(const char *path)
{
    return is_on_disk(path) && is_in_force("read-only") ? fails(EROFS) : REAL(unlink)(path);
}

int mkdir(const char *path, mode_t mode)
{
    return is_on_disk(path) && is_in_force("read-only") ? fails(EROFS) : REAL(mkdir)(path, mode);
}
