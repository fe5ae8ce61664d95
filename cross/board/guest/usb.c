/* A USB camera without a wire: the kernel's usbip host controller (vhci_hcd) asks over a socket what it would ask over USB, and this
 * answers as the firmware of a camera with Motion JPEG over a bulk endpoint. Everything above is the kernel's own: uvcvideo, the
 * tree of devices in sysfs, plugging and unplugging.
 *
 *   tool usb PORT SERIAL FPS SCENE    plugs a camera 1d6b:0102 into a port of the controller, 0 to 7, and plays SCENE until it is
 *                                     killed, which unplugs it; SERIAL may be "" for none
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/usb/ch9.h>
#include <linux/usb/video.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

#define ATTACH "/sys/devices/platform/vhci_hcd.0/attach"
#define LE16(n) (n) & 0xff, (n) >> 8
#define LE32(n) (n) & 0xff, (n) >> 8 & 0xff, (n) >> 16 & 0xff, (n) >> 24

enum { SUBMIT = 1, UNLINK = 2, SUBMITTED = 3, UNLINKED = 4, INWARD = 1, WAITING = 16, PAYLOAD = 16384, HEADER = 2 };

/* What goes over the socket before the data of a transfer, in the order of bytes of networks. */
struct message {
    uint32_t command, number, device, direction, endpoint;
    union {
        struct {
            uint32_t flags, length, start, packets, interval;
            struct usb_ctrlrequest setup;
        } submit;
        struct {
            uint32_t status, length, start, packets, errors, padding[2];
        } submitted;
        uint32_t unlink, unlinked, bytes[7];
    };
};
_Static_assert(sizeof(struct message) == 48, "as Documentation/usb/usbip_protocol.rst has it");

static const uint8_t DEVICE[] = {18, USB_DT_DEVICE, LE16(0x200), 0xef, 2, 1, 64, LE16(0x1d6b), LE16(0x0102), LE16(0x100), 1, 2, 3, 1};

/* One configuration: the camera, its output, and a stream of one format in one size. */
static const uint8_t CONFIGURATION[] = {
    9, USB_DT_CONFIG, LE16(9 + 8 + 9 + 13 + 18 + 9 + 9 + 14 + 11 + 30 + 7), 2, 1, 0, 0x80, 250,
    8, USB_DT_INTERFACE_ASSOCIATION, 0, 2, USB_CLASS_VIDEO, 3, 0, 0,
    9, USB_DT_INTERFACE, 0, 0, 0, USB_CLASS_VIDEO, 1, 0, 0,
    13, USB_DT_CS_INTERFACE, UVC_VC_HEADER, LE16(0x100), LE16(13 + 18 + 9), LE32(48000000), 1, 1,
    18, USB_DT_CS_INTERFACE, UVC_VC_INPUT_TERMINAL, 1, LE16(UVC_ITT_CAMERA), 0, 0, LE16(0), LE16(0), LE16(0), 3, 0, 0, 0,
    9, USB_DT_CS_INTERFACE, UVC_VC_OUTPUT_TERMINAL, 2, LE16(UVC_TT_STREAMING), 0, 1, 0,
    9, USB_DT_INTERFACE, 1, 0, 1, USB_CLASS_VIDEO, 2, 0, 0,
    14, USB_DT_CS_INTERFACE, UVC_VS_INPUT_HEADER, 1, LE16(14 + 11 + 30), 0x81, 0, 2, 0, 0, 0, 1, 0,
    11, USB_DT_CS_INTERFACE, UVC_VS_FORMAT_MJPEG, 1, 1, 1, 1, 0, 0, 0, 0,
    30, USB_DT_CS_INTERFACE, UVC_VS_FRAME_MJPEG, 1, 0, LE16(640), LE16(480), LE32(10000000), LE32(100000000), LE32(614400), LE32(666666), 1, LE32(666666),
    7, USB_DT_ENDPOINT, 0x81, USB_ENDPOINT_XFER_BULK, LE16(512), 0,
};

static const char *serial;
/* Bulk transfers that wait for a picture: number and length. */
static struct {
    uint32_t number, length;
} waiting[WAITING];
static unsigned waits;

static int whole(int socket, void *data, size_t length, int out)
{
    for (char *at = data; length > 0;) {
        ssize_t n = out ? write(socket, at, length) : read(socket, at, length);
        if (n <= 0)
            return -1;
        at += n, length -= n;
    }
    return 0;
}

static void answer(int socket, uint32_t number, int status, const void *data, uint32_t length, int inward)
{
    struct message out = {.command = htonl(SUBMITTED), .number = htonl(number)};
    out.submitted.status = htonl(status);
    out.submitted.length = htonl(length);
    out.submitted.packets = htonl(-1);
    whole(socket, &out, sizeof out, 1);
    if (inward)
        whole(socket, (void *)data, length, 1);
}

/* A descriptor; its length, or -EPIPE for one that the camera has not. */
static int descriptor(unsigned kind, unsigned index, uint8_t *out)
{
    const char *texts[] = {"", "A test", "Camera without a wire", serial};
    if (kind == USB_DT_DEVICE) {
        memcpy(out, DEVICE, sizeof DEVICE);
        out[16] = *serial ? 3 : 0;
        return sizeof DEVICE;
    }
    if (kind == USB_DT_CONFIG)
        return memcpy(out, CONFIGURATION, sizeof CONFIGURATION), (int)sizeof CONFIGURATION;
    if (kind != USB_DT_STRING || index > 3)
        return -EPIPE;
    unsigned length = index ? 2 * strlen(texts[index]) : 2;
    memset(out, 0, 2 + length);
    out[0] = 2 + length, out[1] = USB_DT_STRING;
    for (unsigned n = 0; index && texts[index][n]; n++)
        out[2 + 2 * n] = texts[index][n];
    if (!index)
        out[2] = 0x09, out[3] = 0x04;
    return 2 + length;
}

/* What a request on the control endpoint gets: bytes in `out`, or a negative number for a refusal. */
static int control(const struct usb_ctrlrequest *setup, uint8_t *out)
{
    static const uint8_t stream[26] = {LE16(1), 1, 1, LE32(666666), LE16(0), LE16(0), LE16(0), LE16(0), LE16(0), LE32(614400), LE32(PAYLOAD)};
    unsigned kind = setup->bRequestType & USB_TYPE_MASK, inward = setup->bRequestType & USB_DIR_IN;
    if (kind == USB_TYPE_STANDARD && setup->bRequest == USB_REQ_GET_DESCRIPTOR)
        return descriptor(setup->wValue >> 8, setup->wValue & 0xff, out);
    if (kind == USB_TYPE_STANDARD && setup->bRequest == USB_REQ_GET_STATUS)
        return memset(out, 0, 2), 2;
    if (!inward)
        return 0;
    /* The stream's interface; the other has no controls. */
    if (kind != USB_TYPE_CLASS || (setup->wIndex & 0xff) != 1)
        return -EPIPE;
    if (setup->bRequest == UVC_GET_INFO)
        return out[0] = 3, 1;
    if (setup->bRequest == UVC_GET_LEN)
        return out[0] = sizeof stream, out[1] = 0, 2;
    return memcpy(out, stream, sizeof stream), (int)sizeof stream;
}

/* One message of the controller; -1 where it has gone. */
static int serve(int socket)
{
    static uint8_t data[65536];
    struct message in;
    if (whole(socket, &in, sizeof in, 0) < 0)
        return -1;
    uint32_t number = ntohl(in.number), length = ntohl(in.submit.length), inward = ntohl(in.direction) == INWARD;
    if (ntohl(in.command) == UNLINK) {
        struct message out = {.command = htonl(UNLINKED), .number = in.number};
        for (unsigned n = 0; n < waits; n++)
            if (waiting[n].number == ntohl(in.unlink)) {
                memmove(waiting + n, waiting + n + 1, (--waits - n) * sizeof *waiting);
                out.unlinked = htonl(-ECONNRESET);
                break;
            }
        return whole(socket, &out, sizeof out, 1);
    }
    if (length > sizeof data || (!inward && whole(socket, data, length, 0) < 0))
        return -1;
    if (ntohl(in.endpoint) != 0) {
        if (waits == WAITING)
            return -1;
        waiting[waits].number = number;
        waiting[waits++].length = length;
        return 0;
    }
    int got = control(&in.submit.setup, data);
    if (got < 0)
        answer(socket, number, got, NULL, 0, 0);
    else
        answer(socket, number, 0, data, !inward ? length : (uint32_t)got < length ? (uint32_t)got : length, inward);
    return 0;
}

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* Gives the next part of a picture to the transfer that waits longest; the part's end, or 0 where the picture is over. */
static size_t give(int socket, size_t from, size_t length, unsigned parity)
{
    static uint8_t payload[PAYLOAD];
    size_t room = (waiting[0].length < PAYLOAD ? waiting[0].length : PAYLOAD) - HEADER, part = length - from < room ? length - from : room;
    int last = from + part == length;
    payload[0] = HEADER;
    payload[1] = UVC_STREAM_EOH | (parity ? UVC_STREAM_FID : 0) | (last ? UVC_STREAM_EOF : 0);
    memcpy(payload + HEADER, frame + from, part);
    uint32_t number = waiting[0].number;
    memmove(waiting, waiting + 1, --waits * sizeof *waiting);
    answer(socket, number, 0, payload, HEADER + part, 1);
    return last ? 0 : from + part;
}

int usb(char **argument)
{
    serial = argument[1];
    long long period = 1000 / atoi(argument[2]), next = 0;
    const char *scene = argument[3];
    int pair[2], attach = open(ATTACH, O_WRONLY);
    if (attach < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return complain(ATTACH);
    dprintf(attach, "%s %d %d %d", argument[0], pair[1], 0x10001 + atoi(argument[0]), USB_SPEED_HIGH);
    close(attach);
    close(pair[1]);
    printf("usb: plugged in, port %s\n", argument[0]);
    fflush(stdout);
    ssize_t length = 0;
    size_t from = 0;
    unsigned parity = 0;
    for (int number = 0;;) {
        struct pollfd wait = {.fd = pair[0], .events = POLLIN};
        int ready = poll(&wait, 1, waits ? 10 : -1);
        if (ready < 0 || (ready > 0 && serve(pair[0]) < 0))
            return complain("unplugged");
        if (!waits || (from == 0 && now() < next))
            continue;
        if (from == 0) {
            length = load(scene, number++);
            if (length < 0 && number > 1)
                length = load(scene, 0), number = 1;
            if (length <= 0) {
                number = 0;
                continue;
            }
            next = now() + period;
            parity = !parity;
        }
        from = give(pair[0], from, length, parity);
    }
}
