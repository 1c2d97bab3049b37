/* slow_line POD OUTSIDE DELAY LOSS: a line between the network namespaces of two processes. Each end is the device line0.
 * Each packet arrives DELAY milliseconds later; the line loses each LOSS-th packet, none if LOSS is 0.
 * Many kernels are built without netem, so this program delays the packets itself. It ends with its standard input. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* The line holds 6 MB in each direction: more than a TCP window. */
enum { PACKETS = 4096, PACKET_BYTES = 1536 };

struct packet {
    uint64_t due;
    ssize_t bytes;
    char data[PACKET_BYTES];
};

struct direction {
    int from, to;
    unsigned first, next, seen;
    struct packet packets[PACKETS];
};

static struct direction directions[2];

static void fail(const char *what) {
    fprintf(stderr, "slow_line: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Creates the device in the network namespace of a process. */
static int device(const char *pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/ns/net", pid);
    int namespace = open(path, O_RDONLY | O_CLOEXEC);
    if (namespace < 0 || setns(namespace, CLONE_NEWNET))
        fail(path);
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tun < 0)
        fail("/dev/net/tun");
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    strcpy(request.ifr_name, "line0");
    if (ioctl(tun, TUNSETIFF, &request))
        fail("TUNSETIFF");
    return tun;
}

static void take(struct direction *line, uint64_t delay, unsigned loss) {
    struct packet *packet = &line->packets[line->next % PACKETS];
    while (line->next - line->first < PACKETS && (packet->bytes = read(line->from, packet->data, PACKET_BYTES)) > 0) {
        line->seen++;
        if (loss && line->seen % loss == 0)
            continue;
        packet->due = now() + delay;
        packet = &line->packets[++line->next % PACKETS];
    }
}

static void deliver(struct direction *line) {
    for (; line->first != line->next && line->packets[line->first % PACKETS].due <= now(); line->first++) {
        struct packet *packet = &line->packets[line->first % PACKETS];
        /* A device that is down loses the packet. */
        (void)!write(line->to, packet->data, (size_t)packet->bytes);
    }
}

static uint64_t wait_ns(void) {
    uint64_t wait = 1000000000, time = now();
    for (int i = 0; i < 2; i++) {
        struct direction *line = &directions[i];
        if (line->first == line->next)
            continue;
        uint64_t due = line->packets[line->first % PACKETS].due;
        uint64_t left = due > time ? due - time : 0;
        wait = left < wait ? left : wait;
    }
    return wait;
}

int main(int count, char **arguments) {
    if (count != 5)
        return 2;
    int pod = device(arguments[1]), outside = device(arguments[2]);
    uint64_t delay = strtoull(arguments[3], NULL, 10) * 1000000u;
    unsigned loss = (unsigned)strtoul(arguments[4], NULL, 10);
    directions[0].from = directions[1].to = pod;
    directions[0].to = directions[1].from = outside;
    puts("ready");
    fflush(stdout);
    for (;;) {
        uint64_t wait = wait_ns();
        struct timespec timeout = {(time_t)(wait / 1000000000u), (long)(wait % 1000000000u)};
        struct pollfd files[] = {{STDIN_FILENO, POLLIN, 0}, {pod, POLLIN, 0}, {outside, POLLIN, 0}};
        if (ppoll(files, 3, &timeout, NULL) < 0)
            fail("ppoll");
        if (files[0].revents)
            return 0;
        for (int i = 0; i < 2; i++) {
            take(&directions[i], delay, loss);
            deliver(&directions[i]);
        }
    }
}
