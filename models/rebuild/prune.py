"""Removes dead channels exactly.

A channel is dead when its value is the same whatever the image shows: all its weights are zero, so
it equals its bias (passed through the activation). Two kinds occur in expand -> PReLU -> depth-wise
-> PReLU -> project chains:

* the expansion gives a constant 0: the depth-wise output is then its bias everywhere, border
  included;
* the depth-wise weights are zero: its output is its bias likewise.

What such a channel adds to the projection is a constant, which moves into the projection's bias. A
constant other than zero before a padded depth-wise convolution differs at the border and is left
alone."""

import numpy as np

# Weights of live channels are above 1e-3; those of dead ones, trained to nothing by weight decay,
# below 1e-7.
DEAD_WEIGHT = 1e-6
DEAD_VALUE = 1e-5


def _chain(net, expand):
    """(activation, depthwise, activation or None, project) after `expand`, or None."""
    consumers = net.consumers()

    def only(layer):
        following = consumers.get(layer.name, [])
        return following[0] if len(following) == 1 else None

    first = only(expand)
    middle = only(first) if first is not None and first.op in ("prelu", "relu") else None
    if middle is None or not middle.depthwise:
        return None
    second = only(middle)
    project = second
    if second is not None and second.op in ("prelu", "relu"):
        project = only(second)
    else:
        second = None
    if (
        project is None
        or project.op != "conv"
        or project.depthwise
        or project.weights["weight"].shape[2:] != (1, 1)
    ):
        return None
    return first, middle, second, project


def _activated(value, activation):
    if activation is None:
        return value
    slope = activation.weights["slope"] if activation.op == "prelu" else 0.0
    return np.where(value > 0, value, value * slope)


def _keep(layer, alive, *keys):
    for key in keys:
        if key in layer.weights:
            layer.weights[key] = layer.weights[key][alive]


def prune(net):
    """Removes dead channels in place; returns (removed, expanded channels looked at)."""
    removed = total = 0
    for expand in [layer for layer in net.layers if layer.op == "conv" and not layer.depthwise]:
        chain = _chain(net, expand)
        if chain is None:
            continue
        first, middle, second, project = chain
        channels = len(expand.weights["bias"])
        silent = np.abs(expand.weights["weight"]).reshape(channels, -1).max(axis=1) < DEAD_WEIGHT
        silent &= np.abs(_activated(expand.weights["bias"], first)) < DEAD_VALUE
        blind = np.abs(middle.weights["weight"]).reshape(channels, -1).max(axis=1) < DEAD_WEIGHT
        dead = silent | blind
        total += channels
        removed += int(dead.sum())
        if not dead.any():
            continue
        constant = np.where(dead, _activated(middle.weights["bias"], second), 0)
        project.weights["bias"] = (
            project.weights["bias"] + project.weights["weight"][:, :, 0, 0] @ constant
        )
        alive = ~dead
        project.weights["weight"] = project.weights["weight"][:, alive]
        for layer in (expand, first, middle, second):
            if layer is not None:
                _keep(layer, alive, "weight", "bias", "slope")
        middle.group = int(alive.sum())
    return removed, total
