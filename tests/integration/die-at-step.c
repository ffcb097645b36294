/* die-at-step: a library for LD_PRELOAD that kills virt-replicad at its Nth durable step, when the file named by VR_DIE_FILE is there.
 *
 * The file holds N. Steps are counted from the moment it is there. Other programs that inherit it are left alone.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int
read_number(void)
{
    const char *path = getenv("VR_DIE_FILE");
    char text[16] = "";
    int fd = path != NULL && strcmp(program_invocation_short_name, "virt-replicad") == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 ? atoi(text) : 0;
}

static void
count_step(void)
{
    static atomic_int steps;
    int saved = errno, last = read_number();
    if (last == 0)
        steps = 0;
    else if (++steps >= last)
        kill(getpid(), SIGKILL);
    errno = saved;
}

#define STEP(name, arguments, ...)                                                                                    \
    int name arguments                                                                                                \
    {                                                                                                                 \
        static int(*next) arguments;                                                                                  \
        if (next == NULL)                                                                                             \
            next = (int(*) arguments)dlsym(RTLD_NEXT, #name);                                                         \
        count_step();                                                                                                 \
        return next(__VA_ARGS__);                                                                                     \
    }

int fsync(int);
int fdatasync(int);
int mkdir(const char *, mode_t);
int rename(const char *, const char *);
int unlink(const char *);
int remove(const char *);

STEP(fsync, (int fd), fd)
STEP(fdatasync, (int fd), fd)
STEP(mkdir, (const char *path, mode_t mode), path, mode)
STEP(rename, (const char *from, const char *to), from, to)
STEP(unlink, (const char *path), path)
STEP(remove, (const char *path), path)
