/* What the emulated board needs besides busybox: somebody in front of the camera, faults in the driver, a time service.
 *
 *   tool feed DEVICE FOURCC WIDTH HEIGHT FPS SCENE   plays SCENE into the output side of a v4l2loopback device, for ever
 *   tool control DEVICE NAME VALUE                   sets a control of a V4L2 driver (vivid's faults are controls)
 *   tool value DEVICE NAME                           prints what a control is set to
 *   tool busy DEVICE                                 takes the device's buffers, as another program that reads it, for ever
 *   tool timings ..., tool play ...                  see play.c
 *   tool usb ...                                     see usb.c
 *   tool synchronise                                 tells the kernel that its clock is right, as chrony or ntpd would
 *
 * SCENE is a folder, or a link to one that may be changed at any time, with frames 0, 1, 2, ... as files of one frame each. They are
 * written as they are, so that a file cut short is a torn frame; while there is no file 0 nothing is written.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

unsigned char frame[8 << 20];

int complain(const char *what)
{
    fprintf(stderr, "tool: %s: %s\n", what, strerror(errno));
    return 1;
}

ssize_t load(const char *scene, int number)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%d", scene, number);
    int file = open(path, O_RDONLY);
    if (file < 0)
        return -1;
    ssize_t length = read(file, frame, sizeof frame);
    close(file);
    return length;
}

/* Opens the device with exactly this format. While a reader holds it, the driver insists on the former one: -1, try again. */
static int open_output(char **argument, unsigned tries)
{
    int device = open(argument[0], O_RDWR);
    if (device < 0)
        return -1;
    struct v4l2_format wanted = {.type = V4L2_BUF_TYPE_VIDEO_OUTPUT};
    const char *fourcc = argument[1];
    unsigned width = atoi(argument[2]), height = atoi(argument[3]);
    int packed = !strcmp(fourcc, "YUYV");
    wanted.fmt.pix = (struct v4l2_pix_format){
        .width = width,
        .height = height,
        .pixelformat = v4l2_fourcc(fourcc[0], fourcc[1], fourcc[2], fourcc[3]),
        .field = V4L2_FIELD_NONE,
        .bytesperline = packed ? width * 2 : 0,
        .sizeimage = width * height * 2,
        .colorspace = packed ? V4L2_COLORSPACE_SMPTE170M : V4L2_COLORSPACE_JPEG,
    };
    unsigned pixelformat = wanted.fmt.pix.pixelformat;
    int failed = ioctl(device, VIDIOC_S_FMT, &wanted);
    if (failed < 0 || wanted.fmt.pix.pixelformat != pixelformat || wanted.fmt.pix.width != width || wanted.fmt.pix.height != height) {
        if (tries % 500 == 0)
            fprintf(stderr, "feed: waits for the driver: %s, %ux%u %.4s\n", failed < 0 ? strerror(errno) : "another format",
                    wanted.fmt.pix.width, wanted.fmt.pix.height, (const char *)&wanted.fmt.pix.pixelformat);
        close(device);
        return -1;
    }
    return device;
}

static int feed(char **argument)
{
    const char *scene = argument[5];
    long period = 1000000000L / atoi(argument[4]);
    int device;
    for (unsigned tries = 1; (device = open_output(argument, tries)) < 0; tries++)
        usleep(20000);
    printf("feed: %s %s %sx%s\n", argument[0], argument[1], argument[2], argument[3]);
    fflush(stdout);
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (int number = 0;; number++) {
        ssize_t length = load(scene, number);
        if (length < 0 && number > 0)
            length = load(scene, number = 0);
        if (length > 0 && write(device, frame, length) != length)
            return complain("write");
        next.tv_nsec += period;
        next.tv_sec += next.tv_nsec / 1000000000L;
        next.tv_nsec %= 1000000000L;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
}

/* Sets a control where there is a value, else prints it. */
static int control(char **argument, const char *value)
{
    int device = open(argument[0], O_RDWR);
    if (device < 0)
        return complain(argument[0]);
    struct v4l2_queryctrl query = {.id = V4L2_CTRL_FLAG_NEXT_CTRL};
    for (; ioctl(device, VIDIOC_QUERYCTRL, &query) == 0; query.id |= V4L2_CTRL_FLAG_NEXT_CTRL) {
        if (strcmp((const char *)query.name, argument[1]))
            continue;
        struct v4l2_control it = {.id = query.id, .value = value ? atoi(value) : 0};
        if (ioctl(device, value ? VIDIOC_S_CTRL : VIDIOC_G_CTRL, &it) < 0)
            return complain(argument[1]);
        if (!value)
            printf("%d\n", it.value);
        return 0;
    }
    errno = ENOENT;
    return complain(argument[1]);
}

static int busy(const char *path)
{
    int device = open(path, O_RDWR);
    struct v4l2_requestbuffers buffers = {.count = 2, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
    if (device < 0 || ioctl(device, VIDIOC_REQBUFS, &buffers) < 0)
        return complain(path);
    for (;;)
        pause();
}

static int synchronise(void)
{
    struct timex clock = {.modes = ADJ_STATUS | ADJ_MAXERROR | ADJ_ESTERROR, .status = STA_PLL, .maxerror = 1000, .esterror = 1000};
    return adjtimex(&clock) < 0 ? complain("adjtimex") : 0;
}

int main(int count, char **argument)
{
    if (count == 8 && !strcmp(argument[1], "feed"))
        return feed(argument + 2);
    if (count == 5 && !strcmp(argument[1], "control"))
        return control(argument + 2, argument[4]);
    if (count == 4 && !strcmp(argument[1], "value"))
        return control(argument + 2, NULL);
    if (count == 3 && !strcmp(argument[1], "busy"))
        return busy(argument[2]);
    if (count == 6 && !strcmp(argument[1], "timings"))
        return timings(argument + 2);
    if (count == 7 && !strcmp(argument[1], "play"))
        return play(argument + 2);
    if (count == 6 && !strcmp(argument[1], "usb"))
        return usb(argument + 2);
    if (count == 2 && !strcmp(argument[1], "synchronise"))
        return synchronise();
    fprintf(stderr, "usage: see the head of tool.c\n");
    return 64;
}
