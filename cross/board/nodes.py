"""The board's cameras: which modules of the kernel, with which arguments, under which numbers."""

# Two cameras: one that others write into, one whose driver has faults on demand; the latter's
# metadata node, and a third that gives each frame in several planes, as some cameras on chips do.
LOOPBACK = "/dev/video10"
VIVID = "/dev/video0"
METADATA = "/dev/video1"
MULTIPLANAR = "/dev/video2"
MODULES = {
    "virtio_mmio": "",
    "virtio_blk": "",
    "virtio_net": "",
    "virtio_console": "",
    # ext4 asks for its checksum by name, which no table of dependencies tells.
    "crc32c_generic": "",
    "ext4": "",
    "vivid": "n_devs=2 node_types=0x20001,0x1 vid_cap_nr=0,2 meta_cap_nr=1 input_types=0x0,0x0 "
    "multiplanar=1,2",
    "v4l2loopback": "video_nr=10 card_label=Camera exclusive_caps=1 max_buffers=4",
}
# Four cameras, each with a daemon of its own.
SEVERAL = {
    "north": "/dev/video10",
    "east": "/dev/video11",
    "south": "/dev/video12",
    "west": "/dev/video13",
}
SEVERAL_ARGUMENTS = (
    "devices=4 video_nr=10,11,12,13 card_label=North,East,South,West exclusive_caps=1,1,1,1 "
    "max_buffers=4"
)
# vivid with a way from its outputs to its inputs: frames in one buffer, and in several where the
# format has them so. By HDMI, and as television with two fields a picture.
HDMI = (
    "n_devs=2 node_types=0x101,0x101 vid_cap_nr=0,2 vid_out_nr=1,3 num_inputs=1,1 "
    "input_types=0x3,0x3 num_outputs=1,1 output_types=0x1,0x1 multiplanar=1,2"
)
TELEVISION = HDMI.replace("0x3,0x3", "0x2,0x2").replace("0x1,0x1", "0x0,0x0")
# The outputs that lead to them.
OUTPUT = {VIVID: "/dev/video1", MULTIPLANAR: "/dev/video3"}
# The first camera's driver has no picture, the second has its number; then each has another's.
GONE = "n_devs=2 node_types=0x10,0x1 vid_cap_nr=9,0 input_types=0x0,0x0 multiplanar=1,1"
SWAPPED = "n_devs=2 node_types=0x1,0x1 vid_cap_nr=5,0 input_types=0x0,0x0 multiplanar=1,1"
ELSEWHERE = "/dev/video5"
# Loaded by the check of USB cameras: a host controller whose devices are programs, and the driver
# of USB cameras.
LATER = {"vhci_hcd": "", "uvcvideo": ""}
