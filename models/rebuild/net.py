"""The small network description that every step works on, and the plain interpreter for it.

A `Net` is a list of layers in topological order. A layer's output tensor carries the layer's name.
Tensors are NCHW. Weights are float64: float32 origins are represented exactly, and folding a factor
into a weight and back costs nothing that a float32 file could show. The interpreter is float64 as
well, so that two machines with different BLAS kernels agree to some 1e-15, far below what any
rounding decision of the quantizer can notice.

Operations: conv, prelu, relu, add, maxpool (2x2), upsample (nearest, x2), sigmoid, rows (NCHW to
[1, H*W, C]), flatten."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Layer:
    """One operation. `weights`: `weight` [co, ci/group, kh, kw] and `bias` [co] of a conv, `slope`
    [c] of a prelu."""

    op: str
    name: str
    inputs: list
    weights: dict = field(default_factory=dict)
    stride: int = 1
    pad: tuple = (0, 0, 0, 0)  # top, left, bottom, right
    group: int = 1

    @property
    def depthwise(self):
        return self.op == "conv" and self.group > 1


@dataclass
class Net:
    """A network with one image input. `outputs` maps the public output name to the tensor that is
    it."""

    name: str
    input: str
    channels: int
    layers: list
    outputs: dict

    def consumers(self):
        """Tensor name -> layers that read it."""
        table = {}
        for layer in self.layers:
            for tensor in layer.inputs:
                table.setdefault(tensor, []).append(layer)
        return table

    def find(self, name):
        """The layer that makes a tensor; None for the network's input."""
        return next((layer for layer in self.layers if layer.name == name), None)

    def multiply_accumulates(self, height, width):
        """Multiplications of all convolutions for one image of that size."""
        size, total = {self.input: (height, width)}, 0
        for layer in self.layers:
            h, w = size[layer.inputs[0]]
            if layer.op == "conv":
                kh, kw = layer.weights["weight"].shape[2:]
                top, left, bottom, right = layer.pad
                h = (h + top + bottom - kh) // layer.stride + 1
                w = (w + left + right - kw) // layer.stride + 1
                total += layer.weights["weight"].size * h * w
            elif layer.op == "maxpool":
                h, w = h // 2, w // 2
            elif layer.op == "upsample":
                h, w = h * 2, w * 2
            size[layer.name] = (h, w)
        return total


def pad(x, padding):
    """Zero padding of the two image axes."""
    top, left, bottom, right = padding
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right))) if any(padding) else x


def windows(x, kernel, stride):
    """Every kernel position as a view: [n, c, oh, ow, kh, kw]."""
    view = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))
    return view[:, :, ::stride, ::stride]


def convolve(x, weight, stride, padding, group):
    """Convolution without bias; group is 1 or the number of channels."""
    x = pad(x, padding)
    kh, kw = weight.shape[2:]
    if group > 1:
        oh, ow = (x.shape[2] - kh) // stride + 1, (x.shape[3] - kw) // stride + 1
        out = np.zeros((x.shape[0], x.shape[1], oh, ow), x.dtype)
        product = np.empty_like(out)
        for i in range(kh):
            for j in range(kw):
                part = x[
                    :,
                    :,
                    i : i + stride * (oh - 1) + 1 : stride,
                    j : j + stride * (ow - 1) + 1 : stride,
                ]
                np.multiply(part, weight[None, :, 0, i, j, None, None], out=product)
                out += product
        return out
    n = x.shape[0]
    if (kh, kw) == (1, 1):
        x = x[:, :, ::stride, ::stride]
        flat = x.reshape(n, x.shape[1], -1)
        return np.matmul(weight[:, :, 0, 0], flat).reshape(n, -1, *x.shape[2:])
    view = windows(x, (kh, kw), stride)
    oh, ow = view.shape[2:4]
    flat = view.transpose(0, 1, 4, 5, 2, 3).reshape(n, -1, oh * ow)
    return np.matmul(weight.reshape(len(weight), -1), flat).reshape(n, -1, oh, ow)


def apply(layer, inputs):
    """Runs one layer on float64 tensors."""
    x = inputs[0]
    if layer.op == "conv":
        y = convolve(x, layer.weights["weight"], layer.stride, layer.pad, layer.group)
        return y + layer.weights["bias"][None, :, None, None]
    if layer.op == "prelu":
        return np.where(x > 0, x, x * layer.weights["slope"][None, :, None, None])
    if layer.op == "relu":
        return np.maximum(x, 0)
    if layer.op == "add":
        return x + inputs[1]
    if layer.op == "maxpool":
        return windows(x, (2, 2), 2).max(axis=(4, 5))
    if layer.op == "upsample":
        return x.repeat(2, axis=2).repeat(2, axis=3)
    if layer.op == "sigmoid":
        return 1 / (1 + np.exp(-x))
    if layer.op == "rows":
        return x.transpose(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1])
    if layer.op == "flatten":
        return x.reshape(x.shape[0], -1)
    raise ValueError(f"unknown operation {layer.op} in layer {layer.name}")


def walk(net):
    """Yields every layer with the tensors that nobody reads after it, so that a caller can drop
    them."""
    last = {tensor: layer.name for layer in net.layers for tensor in layer.inputs}
    kept = set(net.outputs.values())
    for layer in net.layers:
        yield (
            layer,
            [t for t in sorted(set(layer.inputs)) if last[t] == layer.name and t not in kept],
        )


def run(net, x, watch=None):
    """Outputs of the network for a batch [n, c, h, w]; `watch(layer, tensor)` sees every
    intermediate result."""
    live = {net.input: x.astype(np.float64)}
    for layer, done in walk(net):
        live[layer.name] = apply(layer, [live[t] for t in layer.inputs])
        if watch:
            watch(layer, live[layer.name])
        for tensor in done:
            del live[tensor]
    return {public: live[tensor] for public, tensor in net.outputs.items()}
