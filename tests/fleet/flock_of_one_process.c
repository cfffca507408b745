/* flock(2) as some shared folders have it: it excludes within one process, and no process sees the locks of another.
   So a process that looks whether its lock excludes finds that it does. Preloaded by tests/fleet/test_containers.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>

#define HELD_MAX 256

static struct { int fd; dev_t device; ino_t inode; } held[HELD_MAX];
static int count;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void release(int fd)
{
    for (int at = 0; at < count; at++)
        if (held[at].fd == fd)
            held[at--] = held[--count];
}

int flock(int fd, int operation)
{
    struct stat found;
    int is_refused = 0;
    if (fstat(fd, &found) != 0)
        return -1;
    pthread_mutex_lock(&gate);
    if (operation & LOCK_UN) {
        release(fd);
    } else {
        for (int at = 0; at < count; at++)
            if (held[at].device == found.st_dev && held[at].inode == found.st_ino && held[at].fd != fd)
                is_refused = 1;
        release(fd);
        if (!is_refused && count < HELD_MAX) {
            held[count].fd = fd;
            held[count].device = found.st_dev;
            held[count++].inode = found.st_ino;
        }
    }
    pthread_mutex_unlock(&gate);
    if (is_refused)
        errno = EWOULDBLOCK;
    return is_refused ? -1 : 0;
}

int close(int fd)
{
    static int (*real_close)(int);
    if (!real_close)
        *(void **)&real_close = dlsym(RTLD_NEXT, "close");
    pthread_mutex_lock(&gate);
    release(fd);
    pthread_mutex_unlock(&gate);
    return real_close(fd);
}
