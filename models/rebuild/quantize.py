"""Int8 quantization, layer by layer, each layer seeing the inputs that the int8 network really
gives it.

The scheme that every quantized file of this project keeps to (the int8 engine relies on it):

* activations: int8, one scale a tensor, zero point 0; weights: int8 in -127..127, one scale an
  output channel, zero point 0; biases: int32 with scale input * weight, zero point 0;
* a QuantizeLinear / DequantizeLinear pair behind the input and behind every convolution,
  activation, addition, pooling and upsampling; pooling and upsampling keep their input's scale, and
  so does ReLU, so they are exact on integers;
* the convolutions of the heads (before sigmoid, rows and flatten) have no pair behind them: their
  int32 sums become float32 at once, which is cheaper than a requantization and keeps offsets and
  embeddings fine.

The input is `pixel - 128` with scale 1: the int8 that the network sees is the camera's byte,
without any rounding."""

from dataclasses import dataclass, field

import numpy as np

from .net import apply, convolve, walk
from .rounding import moments, solve
from .serialise import Writer, channels_of, conv_attributes, plain_layer, public_names, rows

INT8 = (-128, 127)
CHUNK = 16


@dataclass(frozen=True)
class Method:
    """What is done; README.md tells what was tried."""

    ridge: float | None = None
    damping: float = 0.05
    # Positions a weight below which a layer is rounded to nearest: too few to know how its inputs
    # vary together.
    enough: int = 20
    # Activation ranges searched, as fractions of the largest magnitude seen.
    narrowest: float = 0.8
    fused: bool = False


@dataclass
class Quantized:
    """A network with its integers. `weights`: conv name -> (int8, scale float32, bias int32)."""

    net: object
    weights: dict = field(default_factory=dict)
    scales: dict = field(default_factory=dict)


def shift_input(net, mean, scale):
    """Rewrites the first convolution so that the network takes `pixel - 128` instead of `(pixel -
    mean) * scale`.

    Exact except at the one-pixel border, where the padding now stands for a pixel of 128."""
    for layer in net.layers:
        if layer.inputs == [net.input]:
            weight = layer.weights["weight"] * scale
            layer.weights["bias"] = layer.weights["bias"] + weight.sum(axis=(1, 2, 3)) * (
                128 - mean
            )
            layer.weights["weight"] = weight


def to_int8(x, scale):
    """QuantizeLinear: round half to even, saturate."""
    return np.clip(np.rint(x / scale), *INT8)


def best_scale(x, narrowest, extra=()):
    """Scale with the least squared error over x (all of it up to a hundred thousand evenly spaced
    elements)."""
    flat = x.reshape(-1)
    flat = flat[:: max(1, flat.size // 100_000)].astype(np.float64)
    top = np.float64(np.abs(x).max())
    candidates = [
        np.float64(np.float32(top * f / 127)) for f in np.linspace(narrowest, 1, 53)
    ] + list(extra)
    errors = [((to_int8(flat, s) * s - flat) ** 2).sum() for s in candidates]
    return candidates[int(np.argmin(errors))]


def _in_chunks(function, *arrays):
    return np.concatenate(
        [
            function(*(a[i : i + CHUNK] for a in arrays)).astype(np.float32)
            for i in range(0, len(arrays[0]), CHUNK)
        ]
    )


def float_tail(net):
    """Names of the convolutions whose sums leave the network as floats, and of everything behind
    them."""
    tail = set()
    consumers = net.consumers()
    for layer in net.layers:
        following = consumers.get(layer.name, [])
        if (
            layer.op == "conv"
            and following
            and all(f.op in ("sigmoid", "rows", "flatten") for f in following)
        ):
            tail.add(layer.name)
        if layer.op in ("sigmoid", "rows", "flatten"):
            tail.add(layer.name)
    return tail


def fused_convolutions(net, method):
    """Convolutions whose activation follows without a pair in between, if the method says so."""
    if not method.fused:
        return set()
    consumers = net.consumers()
    return {
        layer.name
        for layer in net.layers
        if layer.op == "conv"
        and [f.op for f in consumers.get(layer.name, [])] in (["prelu"], ["relu"])
    }


def quantize(net, images, method, observe=None):
    """Quantizes a network that takes `pixel - 128`; `images` is uint8 NCHW in the network's channel
    order.

    `observe(name, tensor)` sees what the int8 network computes, dequantized."""
    out = Quantized(net)
    out.scales[net.input] = 1.0
    tail, fused = float_tail(net), fused_convolutions(net, method)
    exact = {net.input: images.astype(np.float32) - 128}
    whole = {net.input: (images.astype(np.int16) - 128).astype(np.int8)}
    consumers = net.consumers()
    real = {}
    for layer, done in walk(net):
        exact[layer.name] = _in_chunks(
            lambda *x, layer=layer: apply(layer, [v.astype(np.float64) for v in x]),
            *(exact[t] for t in layer.inputs),
        )
        name, source = layer.name, layer.inputs[0]
        if layer.op == "conv":
            step = out.scales[source]
            weight, scale, bias = solve(
                layer,
                moments(layer, whole[source], exact[name]),
                step,
                method.ridge,
                method.damping,
                method.enough,
            )
            unit = step * scale.astype(np.float64)
            bias = np.rint(bias / unit).astype(np.int32)
            out.weights[name] = (weight, scale, bias)
            factor = unit[None, :, None, None]
            real[name] = _in_chunks(
                lambda x, layer=layer, w=weight, b=bias, f=factor: (
                    integer_convolution(layer, x, w, b) * f
                ),
                whole[source],
            )
        elif layer.op in ("maxpool", "upsample"):
            whole[name], out.scales[name] = apply(layer, [whole[source]]), out.scales[source]
        else:
            inputs = [
                real[t] if t in real else whole[t].astype(np.float64) * out.scales[t]
                for t in layer.inputs
            ]
            real[name] = apply(layer, inputs).astype(np.float32)
        if name in real and name not in tail and name not in fused:
            following = [f.op for f in consumers.get(name, [])]
            if layer.op == "relu" and source not in fused:
                scale = out.scales[source]
            elif layer.op == "conv" and following == ["relu"]:
                scale = best_scale(np.maximum(real[name], 0), method.narrowest)
            else:
                extra = [out.scales[source]] if layer.op == "prelu" and source not in fused else []
                scale = best_scale(real[name], method.narrowest, extra)
            out.scales[name] = scale
            whole[name] = to_int8(real.pop(name).astype(np.float64), scale).astype(np.int8)
        if observe:
            observe(name, real[name] if name in real else whole[name] * out.scales[name])
        for tensor in done:
            for table in (exact, whole, real):
                table.pop(tensor, None)
    return out


def integer_convolution(layer, x, weight, bias):
    """Int32 sums of a quantized convolution, in float64.

    Float32 arithmetic on the way is exact, in any order: 1024 products of at most 2^14 stay within
    its 24 bits."""
    if weight[0].size > 1024:
        raise ValueError(f"{layer.name}: too many products for exact float32 sums")
    sums = convolve(
        x.astype(np.float32), weight.astype(np.float32), layer.stride, layer.pad, layer.group
    )
    return sums + bias[None, :, None, None].astype(np.float64)


def int8_model(quantized, method, height, width, documentation):
    """The ONNX file."""
    net, writer = quantized.net, Writer()
    public, tail, fused = public_names(net), float_tail(net), fused_convolutions(net, method)
    zero8 = writer.constant("zero", np.zeros((), np.int8))

    def pair(tensor, output):
        scale = writer.constant(f"{tensor}_scale", np.array(quantized.scales[tensor], np.float32))
        q = writer.node("QuantizeLinear", [output, scale, zero8], f"{tensor}_int8")
        writer.node("DequantizeLinear", [q, scale, zero8], f"{tensor}_real")

    ready = {net.input: f"{net.input}_real"}
    pair(net.input, net.input)
    for layer in net.layers:
        inputs, output = [ready[t] for t in layer.inputs], public.get(layer.name, layer.name)
        if layer.op == "conv":
            weight, scale, bias = quantized.weights[layer.name]
            zeros = writer.constant(f"zero_{len(scale)}", np.zeros(len(scale), np.int8))
            zeros32 = writer.constant(f"zero_{len(scale)}_int32", np.zeros(len(scale), np.int32))
            steps = writer.constant(f"{layer.name}_weight_scale", scale)
            bias_scale = (np.float32(quantized.scales[layer.inputs[0]]) * scale).astype(np.float32)
            bias_steps = writer.constant(f"{layer.name}_bias_scale", bias_scale)
            w = writer.constant(f"{layer.name}_weight", weight)
            b = writer.constant(f"{layer.name}_bias", bias)
            w = writer.node(
                "DequantizeLinear", [w, steps, zeros], f"{layer.name}_weight_real", axis=0
            )
            b = writer.node(
                "DequantizeLinear", [b, bias_steps, zeros32], f"{layer.name}_bias_real", axis=0
            )
            writer.node("Conv", [inputs[0], w, b], output, **conv_attributes(layer))
        elif layer.op == "prelu":
            slope = layer.weights["slope"].astype(np.float32).reshape(-1, 1, 1)
            writer.node("PRelu", [*inputs, writer.constant(f"{layer.name}_slope", slope)], output)
        elif layer.op == "rows":
            rows(writer, layer, inputs[0], output, channels_of(net, layer.inputs[0]))
        else:
            plain_layer(writer, layer, inputs, output)
        if layer.name in tail or layer.name in fused:
            ready[layer.name] = output
        else:
            pair(layer.name, output)
            ready[layer.name] = f"{layer.name}_real"
    return writer.model(net, height, width, documentation)
