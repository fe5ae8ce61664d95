"""Cross-layer equalisation: spreads the range of activations evenly over channels without changing
the function.

Int8 activations have one scale a tensor, so a channel ten times smaller than its neighbours keeps
three of its eight bits. ReLU, PReLU, max-pooling, nearest upsampling and addition all commute with
a positive factor a channel; so the tensors that are connected through them form a group in which
channel c may be divided by any factor, if the convolutions that write the group divide their output
weights by it and those that read it multiply their input weights. Unlike pairwise schemes this
reaches the residual streams, where several blocks add into the same channels.

The factor balances activations against the weights of the point-wise readers, whose scale is one an
output channel: range^alpha / weight^(1 - alpha), as in SmoothQuant. Depth-wise readers carry a
scale a channel and lose nothing, so groups read only by them are equalised fully."""

import numpy as np

from .net import run

COMMUTING = ("prelu", "relu", "add", "maxpool", "upsample")
# An image's outlier should not set a channel's factor.
QUANTILE = 0.95
# No channel is amplified more than this relative to the widest.
SPAN = 1e-3


def groups(net):
    """Sets of tensors that must share their channel factors, except those that touch the input or
    an output."""
    parent = {}

    def root(t):
        parent.setdefault(t, t)
        while parent[t] != t:
            t = parent[t]
        return t

    fixed = {net.input}
    for layer in net.layers:
        root(layer.name)
        if layer.op in COMMUTING:
            for tensor in layer.inputs:
                parent[root(tensor)] = root(layer.name)
        elif layer.op != "conv":
            fixed.update([layer.name, *layer.inputs])
    held = {root(t) for t in fixed}
    members = {}
    for tensor in parent:
        members.setdefault(root(tensor), []).append(tensor)
    return [members[r] for r in members if r not in held]


def channel_ranges(net, batches):
    """Tensor -> per-channel range: the QUANTILE over images of the largest magnitude in an
    image."""
    maxima = {}

    def watch(layer, tensor):
        if tensor.ndim == 4:
            maxima.setdefault(layer.name, []).append(np.abs(tensor).max(axis=(2, 3)))

    for batch in batches:
        run(net, batch, watch)
    return {
        name: np.quantile(np.concatenate(parts), QUANTILE, axis=0) for name, parts in maxima.items()
    }


def equalise(net, batches, alpha):
    """Rescales the weights in place; returns the number of tensor groups equalised."""
    ranges, table = channel_ranges(net, batches), groups(net)
    for members in table:
        inside = set(members)
        writers = [layer for layer in net.layers if layer.op == "conv" and layer.name in inside]
        readers = [
            layer for layer in net.layers if layer.op == "conv" and layer.inputs[0] in inside
        ]
        wide = np.max([ranges[m] for m in members], axis=0)
        wide = np.maximum(wide, SPAN * wide.max() + 1e-30)
        mixing = [
            np.abs(layer.weights["weight"]).max(axis=(0, 2, 3))
            for layer in readers
            if not layer.depthwise
        ]
        factor = wide
        if mixing:
            heavy = np.maximum(np.max(mixing, axis=0), 1e-6)
            factor = wide**alpha / heavy ** (1 - alpha)
        factor = np.maximum(factor / factor.max(), SPAN)
        for layer in writers:
            layer.weights["weight"] = layer.weights["weight"] / factor[:, None, None, None]
            layer.weights["bias"] = layer.weights["bias"] / factor
        for layer in readers:
            shaped = factor[:, None, None, None] if layer.depthwise else factor[None, :, None, None]
            layer.weights["weight"] = layer.weights["weight"] * shaped
    return len(table)
