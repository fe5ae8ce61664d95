"""Rounds one convolution's weights to int8 so that its *output* changes least on the calibration
data.

Nearest rounding is best for each weight alone; but errors of neighbouring weights can cancel, and
the inputs are themselves quantized by now. With H the covariance of the quantized inputs and C the
covariance of the wanted outputs with them, all that matters about the data is known, and three
closed-form steps follow:

1. ridge regression towards the original weights corrects for the error that the inputs already
   carry;
2. each output channel's scale is searched for the least H-weighted rounding error;
3. weights are rounded one after the other, each error pushed onto the weights that are not rounded
   yet (GPTQ, Frantar et al. 2022, after optimal brain surgeon).

The bias then makes the mean output exact. Everything is float64 over sums of integers.
"""

from dataclasses import dataclass

import numpy as np

LEVELS = 127
SHRINK = np.linspace(0.75, 1.0, 26)


@dataclass
class Moments:
    """Centred second moments of a convolution's patches, for `groups` independent channel groups.

    h [g, k, k]: patches with patches; c [g, o, k]: wanted outputs with patches; mean_x [g, k];
    mean_t [g, o]."""

    h: np.ndarray
    c: np.ndarray
    mean_x: np.ndarray
    mean_t: np.ndarray
    positions: int


def _patches(x, layer):
    """Quantized inputs as [groups, k, positions]."""
    from .net import pad, windows

    kernel = layer.weights["weight"].shape[2:]
    view = windows(pad(x, layer.pad), kernel, layer.stride)
    n, c, oh, ow, kh, kw = view.shape
    flat = view.transpose(1, 4, 5, 0, 2, 3).reshape(c, kh * kw, n * oh * ow)
    return flat if layer.depthwise else flat.reshape(1, c * kh * kw, n * oh * ow)


def moments(layer, quantized, wanted, chunk=8):
    """Accumulates Moments over images until there are plenty of positions. `quantized` int8 and
    `wanted` are NCHW."""
    outputs, k = wanted.shape[1], layer.weights["weight"][0].size
    g = outputs if layer.depthwise else 1
    o = outputs // g
    h, c, sx, st, positions = (
        np.zeros((g, k, k)),
        np.zeros((g, o, k)),
        np.zeros((g, k)),
        np.zeros((g, o)),
        0,
    )
    budget = np.clip(400 * k, 12_000, 100_000)
    for start in range(0, len(quantized), chunk):
        x = _patches(quantized[start : start + chunk].astype(np.float64), layer)
        t = wanted[start : start + chunk].astype(np.float64)
        t = t.transpose(1, 0, 2, 3).reshape(g, o, -1)
        h += x @ x.transpose(0, 2, 1)
        c += t @ x.transpose(0, 2, 1)
        sx += x.sum(axis=2)
        st += t.sum(axis=2)
        positions += x.shape[2]
        if positions >= budget:
            break
    mean_x, mean_t = sx / positions, st / positions
    h = h / positions - mean_x[:, :, None] * mean_x[:, None, :]
    c = c / positions - mean_t[:, :, None] * mean_x[:, None, :]
    return Moments(h, c, mean_x, mean_t, positions)


def _scales(weight, importance):
    """Scale [g, o] of each output channel with the least weighted error under nearest rounding."""
    widest = np.maximum(np.abs(weight).max(axis=2), 1e-12)
    best, chosen = np.full(widest.shape, np.inf), widest / LEVELS
    for shrink in SHRINK:
        scale = widest * shrink / LEVELS
        rounded = np.clip(np.rint(weight / scale[..., None]), -LEVELS, LEVELS) * scale[..., None]
        error = ((weight - rounded) ** 2 * importance[:, None, :]).sum(axis=2)
        better = error < best
        best, chosen = np.where(better, error, best), np.where(better, scale, chosen)
    return chosen.astype(np.float32).astype(np.float64)


def solve(layer, m, input_scale, ridge, damping, enough):
    """(weights int8 like the layer's, scale float32 [co], bias real [co]).

    `m` is in units of input steps; `ridge` and `damping` are relative to the mean input variance.
    `ridge` None leaves the weights as they are before rounding."""
    original = layer.weights["weight"]
    g, o, k = m.c.shape
    # In units of input steps: the weights that multiply int8 inputs directly.
    weight = original.reshape(g, o, k) * input_scale
    level = np.maximum(np.einsum("gkk->g", m.h) / k, 1e-9)[:, None, None] * np.eye(k)
    compensate = m.positions >= enough * k
    if ridge is not None and compensate:
        gap = m.c - weight @ m.h
        weight = weight + np.linalg.solve(m.h + ridge * level, gap.transpose(0, 2, 1)).transpose(
            0, 2, 1
        )
    importance = np.einsum("gkk->gk", m.h) + 1e-3 * level[:, 0, 0][:, None]
    scale = _scales(weight, importance)
    rounded = np.zeros_like(weight)
    if compensate:
        order = np.argsort(-importance.sum(axis=0), kind="stable")
        h = (m.h + damping * level)[:, order][:, :, order]
        upper = np.linalg.cholesky(np.linalg.inv(h)).transpose(0, 2, 1)
        # inv(h) = L L^T; GPTQ wants the upper factor U with inv(h) = U^T U.
        left = weight[:, :, order].copy()
        for i in range(k):
            q = np.clip(np.rint(left[:, :, i] / scale), -LEVELS, LEVELS)
            rounded[:, :, order[i]] = q
            error = (left[:, :, i] - q * scale) / upper[:, i, i][:, None]
            left[:, :, i + 1 :] -= error[:, :, None] * upper[:, None, i, i + 1 :]
    else:
        rounded = np.clip(np.rint(weight / scale[..., None]), -LEVELS, LEVELS)
    bias = m.mean_t - ((rounded * scale[..., None]) @ m.mean_x[:, :, None])[..., 0]
    weight_scale = (scale / input_scale).astype(np.float32).reshape(-1)
    return rounded.astype(np.int8).reshape(original.shape), weight_scale, bias.reshape(-1)
