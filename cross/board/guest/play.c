/* A picture on the output side of vivid, which gives it to its own capture side where the two have the same format and size: what
 * the daemon then reads came through the kernel's own buffers, of one plane or of several.
 *
 *   tool timings DEVICE WIDTH HEIGHT interlaced|progressive   the first timing of that size that an HDMI input or output knows
 *   tool play DEVICE FOURCC WIDTH HEIGHT SCENE                plays SCENE into an output, for ever
 *
 * SCENE is a folder, or a link to one that may be changed at any time, with frames 0, 1, 2, ... of WIDTH x HEIGHT pixels of three
 * bytes, red, green, blue. They are turned into FOURCC here, from what the kernel's documentation says of it and without a line of
 * the daemon's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool.h"

enum { BUFFERS = 4, PLANES = 3 };

struct plane {
    unsigned char *at;
    unsigned stride;
};

/* The picture that is played. */
static unsigned char *picture;
static unsigned width, height;

/* Luma and chroma of a pixel: BT.601, 16 to 235. */
struct colour {
    unsigned char y, cb, cr;
};

static struct colour colour(unsigned x, unsigned y)
{
    const unsigned char *p = picture + 3 * (y * width + x);
    int r = p[0], g = p[1], b = p[2];
    return (struct colour){
        .y = 16 + (66 * r + 129 * g + 25 * b + 128) / 256,
        .cb = 128 + (-38 * r - 74 * g + 112 * b + 128) / 256,
        .cr = 128 + (112 * r - 94 * g - 18 * b + 128) / 256,
    };
}

/* Formats with luma first and chroma in planes of its own. */
struct planar {
    char name[5];
    /* Pixels across and down that share a colour. */
    unsigned across, down;
    int together, cr_first;
};

static const struct planar PLANAR[] = {
    {"NV12", 2, 2, 1, 0}, {"NM12", 2, 2, 1, 0}, {"NV21", 2, 2, 1, 1}, {"NM21", 2, 2, 1, 1}, {"NV16", 2, 1, 1, 0},
    {"NM16", 2, 1, 1, 0}, {"NV61", 2, 1, 1, 1}, {"NM61", 2, 1, 1, 1}, {"NV24", 1, 1, 1, 0}, {"NV42", 1, 1, 1, 1},
    {"YU12", 2, 2, 0, 0}, {"YM12", 2, 2, 0, 0}, {"YV12", 2, 2, 0, 1}, {"YM21", 2, 2, 0, 1}, {"422P", 2, 1, 0, 0},
    {"YM16", 2, 1, 0, 0}, {"YM61", 2, 1, 0, 1},
};

/* The order of bytes of what has all of a pixel, or of two, in one place: u and v are Cb and Cr, w the second pixel's luma. */
static const struct packed {
    char name[5], order[5];
} PACKED[] = {
    {"YUYV", "yuwv"}, {"UYVY", "uyvw"}, {"YVYU", "yvwu"}, {"VYUY", "vyuw"}, {"RGB3", "rgb"},  {"BGR3", "bgr"},
    {"XB24", "rgb."}, {"AB24", "rgb."}, {"XR24", "bgr."}, {"AR24", "bgr."}, {"BGR4", "bgr."}, {"BX24", ".rgb"},
    {"BA24", ".rgb"}, {"RGB4", ".rgb"}, {"RX24", ".bgr"}, {"RA24", ".bgr"},
};

/* Grey of more than 8 bits, in two bytes with the lower one first. */
static const struct deep {
    char name[5];
    unsigned bits;
} DEEP[] = {{"Y10 ", 10}, {"Y12 ", 12}, {"Y14 ", 14}, {"Y16 ", 16}};

static int is(const char *name, const char *fourcc) { return !strncmp(name, fourcc, 4); }

static void planar(const struct planar *f, struct plane *planes, unsigned buffers, unsigned rows, unsigned first, unsigned step)
{
    struct plane chroma[2];
    /* Planes in one buffer follow each other; their rows are as long as their share of pixels. */
    unsigned stride = f->together ? planes[0].stride * 2 / f->across : planes[0].stride / f->across;
    if (buffers > 1) {
        chroma[0] = planes[1];
        chroma[1] = planes[f->together ? 1 : 2];
    } else {
        chroma[0] = (struct plane){planes[0].at + planes[0].stride * rows, stride};
        chroma[1] = (struct plane){chroma[0].at + (f->together ? 0 : stride * (rows / f->down)), stride};
    }
    for (unsigned y = 0; y < rows; y++)
        for (unsigned x = 0; x < width; x++)
            planes[0].at[y * planes[0].stride + x] = colour(x, first + y * step).y;
    for (unsigned y = 0; y < rows / f->down; y++)
        for (unsigned x = 0; x < width / f->across; x++) {
            struct colour c = colour(x * f->across, first + y * f->down * step);
            unsigned char *at[2];
            for (int n = 0; n < 2; n++)
                at[n] = chroma[n].at + y * chroma[n].stride + (f->together ? 2 * x + n : x);
            *at[f->cr_first] = c.cb;
            *at[!f->cr_first] = c.cr;
        }
}

static void packed(const char *order, struct plane *plane, unsigned rows, unsigned first, unsigned step)
{
    unsigned pixels = strchr(order, 'w') ? 2 : 1;
    for (unsigned y = 0; y < rows; y++) {
        unsigned char *out = plane->at + y * plane->stride;
        for (unsigned x = 0; x < width; x += pixels) {
            const unsigned char *p = picture + 3 * ((first + y * step) * width + x);
            struct colour c = colour(x, first + y * step), second = colour(x + pixels - 1, first + y * step);
            for (const char *o = order; *o; o++)
                *out++ = *o == 'r' ? p[0] : *o == 'g' ? p[1] : *o == 'b' ? p[2] : *o == 'y' ? c.y : *o == 'w' ? second.y : *o == 'u' ? c.cb : *o == 'v' ? c.cr : 0;
        }
    }
}

/* Puts the picture's rows `first`, `first + step`, ... into a frame's buffers; -1 where the format is not known here. */
static int pack(const char *fourcc, struct plane *planes, unsigned buffers, unsigned rows, unsigned first, unsigned step)
{
    for (unsigned n = 0; n < sizeof PLANAR / sizeof *PLANAR; n++)
        if (is(PLANAR[n].name, fourcc))
            return planar(PLANAR + n, planes, buffers, rows, first, step), 0;
    for (unsigned n = 0; n < sizeof PACKED / sizeof *PACKED; n++)
        if (is(PACKED[n].name, fourcc))
            return packed(PACKED[n].order, planes, rows, first, step), 0;
    unsigned bits = is("GREY", fourcc) ? 8 : 0;
    for (unsigned n = 0; n < sizeof DEEP / sizeof *DEEP; n++)
        if (is(DEEP[n].name, fourcc))
            bits = DEEP[n].bits;
    int rgb565 = is("RGBP", fourcc);
    if (!bits && !rgb565)
        return -1;
    for (unsigned y = 0; y < rows; y++)
        for (unsigned x = 0; x < width; x++) {
            const unsigned char *p = picture + 3 * ((first + y * step) * width + x);
            unsigned luma = colour(x, first + y * step).y, rgb = (p[0] >> 3) << 11 | (p[1] >> 2) << 5 | p[2] >> 3;
            unsigned code = rgb565 ? rgb : luma << (bits - 8);
            unsigned char *out = planes[0].at + y * planes[0].stride + x * (bits == 8 ? 1 : 2);
            out[0] = code;
            if (bits != 8)
                out[1] = code >> 8;
        }
    return 0;
}

int timings(char **argument)
{
    int device = open(argument[0], O_RDWR);
    unsigned w = atoi(argument[1]), h = atoi(argument[2]), interlaced = !strcmp(argument[3], "interlaced");
    struct v4l2_enum_dv_timings known = {0};
    for (; device >= 0 && ioctl(device, VIDIOC_ENUM_DV_TIMINGS, &known) == 0; known.index++) {
        struct v4l2_bt_timings *bt = &known.timings.bt;
        if (bt->width == w && bt->height == h && bt->interlaced == interlaced)
            return ioctl(device, VIDIOC_S_DV_TIMINGS, &known.timings) < 0 ? complain("VIDIOC_S_DV_TIMINGS") : 0;
    }
    return complain("no such timing");
}

/* The scene's frame `number`, the first where there are fewer; -1 where that is the file that `before` is about. */
static int changed(const char *scene, int number, struct stat *before)
{
    char path[256];
    struct stat now;
    for (;; number = 0) {
        snprintf(path, sizeof path, "%s/%d", scene, number);
        if (stat(path, &now) == 0)
            break;
        if (number == 0)
            return -1;
    }
    if (now.st_ino == before->st_ino && now.st_dev == before->st_dev)
        return -1;
    *before = now;
    return number;
}

int play(char **argument)
{
    const char *fourcc = argument[1], *scene = argument[4];
    width = atoi(argument[2]);
    height = atoi(argument[3]);
    picture = frame;
    int device = open(argument[0], O_RDWR);
    struct v4l2_capability can;
    if (device < 0 || ioctl(device, VIDIOC_QUERYCAP, &can) < 0)
        return complain(argument[0]);
    int multi = !(can.device_caps & V4L2_CAP_VIDEO_OUTPUT), is_rgb = strpbrk(fourcc, "RB") && fourcc[0] != 'Y';
    struct v4l2_format wanted = {.type = multi ? V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE : V4L2_BUF_TYPE_VIDEO_OUTPUT};
    unsigned pixelformat = v4l2_fourcc(fourcc[0], fourcc[1], fourcc[2], fourcc[3]);
    unsigned space = is_rgb ? V4L2_COLORSPACE_SRGB : V4L2_COLORSPACE_SMPTE170M;
    unsigned span = is_rgb ? V4L2_QUANTIZATION_FULL_RANGE : V4L2_QUANTIZATION_LIM_RANGE;
    if (multi)
        wanted.fmt.pix_mp = (struct v4l2_pix_format_mplane){
            .width = width, .height = height, .pixelformat = pixelformat, .field = V4L2_FIELD_ANY, .colorspace = space, .quantization = span};
    else
        wanted.fmt.pix = (struct v4l2_pix_format){
            .width = width, .height = height, .pixelformat = pixelformat, .field = V4L2_FIELD_ANY, .colorspace = space, .quantization = span, .priv = V4L2_PIX_FMT_PRIV_MAGIC};
    /* Of a picture in two fields a buffer has one. */
    for (int tries = 0; tries < 2; tries++) {
        if (ioctl(device, VIDIOC_S_FMT, &wanted) < 0)
            return complain("VIDIOC_S_FMT");
        if (multi && wanted.fmt.pix_mp.field == V4L2_FIELD_ALTERNATE)
            wanted.fmt.pix_mp.height = height / 2;
    }
    struct v4l2_pix_format_mplane *mp = &wanted.fmt.pix_mp;
    struct v4l2_pix_format *sp = &wanted.fmt.pix;
    unsigned field = multi ? mp->field : sp->field, got_width = multi ? mp->width : sp->width, rows = multi ? mp->height : sp->height;
    unsigned buffers_a_frame = multi ? mp->num_planes : 1, got = multi ? mp->pixelformat : sp->pixelformat;
    int alternate = field == V4L2_FIELD_ALTERNATE;
    if (got != pixelformat || got_width != width || rows != height / (alternate ? 2 : 1)) {
        fprintf(stderr, "play: %s gives %ux%u %.4s\n", argument[0], got_width, rows, (char *)&got);
        return 1;
    }
    struct v4l2_requestbuffers buffers = {.count = BUFFERS, .type = wanted.type, .memory = V4L2_MEMORY_MMAP};
    if (ioctl(device, VIDIOC_REQBUFS, &buffers) < 0 || buffers.count > BUFFERS)
        return complain("VIDIOC_REQBUFS");
    struct plane planes[BUFFERS][PLANES];
    struct v4l2_plane described[BUFFERS][VIDEO_MAX_PLANES];
    struct v4l2_buffer ours[BUFFERS];
    struct stat shown[BUFFERS];
    memset(shown, 0, sizeof shown);
    memset(described, 0, sizeof described);
    for (unsigned n = 0; n < buffers.count; n++) {
        ours[n] = (struct v4l2_buffer){.index = n, .type = wanted.type, .memory = V4L2_MEMORY_MMAP};
        if (multi) {
            ours[n].m.planes = described[n];
            ours[n].length = VIDEO_MAX_PLANES;
        }
        if (ioctl(device, VIDIOC_QUERYBUF, ours + n) < 0)
            return complain("VIDIOC_QUERYBUF");
        for (unsigned p = 0; p < buffers_a_frame; p++) {
            unsigned length = multi ? described[n][p].length : ours[n].length, offset = multi ? described[n][p].m.mem_offset : ours[n].m.offset;
            planes[n][p].at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, device, offset);
            planes[n][p].stride = multi ? mp->plane_fmt[p].bytesperline : sp->bytesperline;
            if (planes[n][p].at == MAP_FAILED)
                return complain("mmap");
            if (multi) {
                described[n][p].bytesused = length;
                described[n][p].data_offset = 0;
            }
        }
        if (!multi)
            ours[n].bytesused = ours[n].length;
        ours[n].field = alternate ? n & 1 ? V4L2_FIELD_BOTTOM : V4L2_FIELD_TOP : field;
    }
    printf("play: %s %s %ux%u, field order %u, %u buffers a frame\n", argument[0], fourcc, width, height, field, buffers_a_frame);
    fflush(stdout);
    int streams = 0;
    for (unsigned next = 0;; next = (next + 1) % buffers.count) {
        unsigned n = next;
        if (streams) {
            struct v4l2_plane returned[VIDEO_MAX_PLANES];
            struct v4l2_buffer back = {.type = wanted.type, .memory = V4L2_MEMORY_MMAP};
            if (multi) {
                back.m.planes = returned;
                back.length = VIDEO_MAX_PLANES;
            }
            if (ioctl(device, VIDIOC_DQBUF, &back) < 0)
                return complain("VIDIOC_DQBUF");
            n = back.index;
        }
        int number = changed(scene, n, shown + n);
        if (number >= 0 && load(scene, number) > 0 &&
            pack(fourcc, planes[n], buffers_a_frame, rows, alternate ? n & 1 : 0, alternate ? 2 : 1) < 0) {
            fprintf(stderr, "play: %s is not known here\n", fourcc);
            return 1;
        }
        if (ioctl(device, VIDIOC_QBUF, ours + n) < 0)
            return complain("VIDIOC_QBUF");
        if (!streams && next + 1 == buffers.count) {
            if (ioctl(device, VIDIOC_STREAMON, &wanted.type) < 0)
                return complain("VIDIOC_STREAMON");
            streams = 1;
        }
    }
}
