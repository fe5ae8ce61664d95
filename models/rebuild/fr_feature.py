"""fr_feature.onnx (opset 9) out of faceplugin-face-recognition-js: 50 convolutions, 33 PReLU, 12
additions."""

import numpy as np
import onnx
from onnx import numpy_helper

from .net import Layer, Net


def _square(values, what, node):
    if len(set(values)) != 1:
        raise ValueError(f"{node.name}: unequal {what} {values}")
    return values[0]


def extract(data):
    """ONNX bytes -> network. Input BGR, (x - 127.5) / 128; output 512 numbers, not normalised."""
    graph = onnx.load_from_string(data).graph
    values = {i.name: numpy_helper.to_array(i).astype(np.float64) for i in graph.initializer}
    layers, alias = [], {}
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        inputs = [alias.get(x, x) for x in node.input if x not in values]
        if node.op_type == "Conv":
            layer = Layer(
                "conv",
                node.output[0],
                inputs,
                {"weight": values[node.input[1]], "bias": values[node.input[2]]},
                _square(attributes["strides"], "strides", node),
                tuple(attributes["pads"]),
                attributes["group"],
            )
        elif node.op_type == "PRelu":
            channels = layers[-1].weights["bias"].size
            slope = np.broadcast_to(values[node.input[1]].reshape(-1), (channels,)).copy()
            layer = Layer("prelu", node.output[0], inputs, {"slope": slope})
        elif node.op_type == "Add":
            layer = Layer("add", node.output[0], inputs)
        elif node.op_type == "Reshape":
            layer = Layer("flatten", node.output[0], inputs)
        else:
            raise ValueError(f"unexpected operation {node.op_type} in fr_feature")
        layers.append(layer)
    for layer in layers:  # Tensor names of the origin are bare numbers; tell what they are.
        alias[layer.name] = f"{layer.op}_{layer.name}" if layer.name.isdigit() else layer.name
    for layer in layers:
        layer.name = alias[layer.name]
        layer.inputs = [alias.get(x, x) for x in layer.inputs]
    return Net("fr_feature", "input", 3, layers, {"embedding": layers[-1].name})
