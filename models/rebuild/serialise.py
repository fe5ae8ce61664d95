"""Writes a network as ONNX: float32, or int8 with explicit QuantizeLinear / DequantizeLinear pairs.

Two runs write the same bytes: nodes and initializers follow the layers' order, names derive from
layer names, the opset and IR version are fixed, and protobuf's deterministic mode is on (no map
field is used anyway)."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13
IR_VERSION = 8
PRODUCER = "watchpost"


class Writer:
    """Collects nodes and initializers."""

    def __init__(self):
        self.nodes, self.initializers, self.known = [], [], set()

    def constant(self, name, value):
        if name not in self.known:
            self.known.add(name)
            self.initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def model(self, net, height, width, documentation):
        """`height` and `width` are numbers or, for a free size, the strings "H" and "W"."""
        outputs = []
        for public, tensor in net.outputs.items():
            layer = net.find(tensor)
            if layer.op == "rows":
                channels = channels_of(net, layer.inputs[0])
                outputs.append(
                    helper.make_tensor_value_info(public, TensorProto.FLOAT, [1, None, channels])
                )
            else:
                channels = channels_of(net, layer.inputs[0])
                outputs.append(
                    helper.make_tensor_value_info(public, TensorProto.FLOAT, [1, channels])
                )
        source = helper.make_tensor_value_info(
            net.input, TensorProto.FLOAT, [1, net.channels, height, width]
        )
        graph = helper.make_graph(self.nodes, net.name, [source], outputs, self.initializers)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name=PRODUCER,
            doc_string=documentation,
        )
        onnx.checker.check_model(model)
        return model.SerializeToString(deterministic=True)


def channels_of(net, tensor):
    """Channel count of a tensor."""
    while tensor != net.input:
        layer = net.find(tensor)
        if layer.op == "conv":
            return len(layer.weights["bias"])
        tensor = layer.inputs[0]
    return net.channels


def conv_attributes(layer):
    return {
        "kernel_shape": list(layer.weights["weight"].shape[2:]),
        "strides": [layer.stride] * 2,
        "pads": list(layer.pad),
        "group": layer.group,
    }


def plain_layer(writer, layer, inputs, output):
    """Every operation but conv and prelu, which the two writers treat differently."""
    if layer.op == "relu":
        writer.node("Relu", inputs, output)
    elif layer.op == "add":
        writer.node("Add", inputs, output)
    elif layer.op == "sigmoid":
        writer.node("Sigmoid", inputs, output)
    elif layer.op == "flatten":
        writer.node("Flatten", inputs, output, axis=1)
    elif layer.op == "maxpool":
        writer.node("MaxPool", inputs, output, kernel_shape=[2, 2], strides=[2, 2])
    elif layer.op == "upsample":
        scales = writer.constant("twice", np.array([1, 1, 2, 2], np.float32))
        modes = {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
        writer.node("Resize", [inputs[0], "", scales], output, **modes)
    else:
        raise ValueError(f"cannot write operation {layer.op}")


def rows(writer, layer, x, output, channels):
    """NCHW to [1, H*W, C]."""
    shape = writer.constant(f"rows_of_{channels}", np.array([1, -1, channels], np.int64))
    transposed = writer.node("Transpose", [x], f"{output}_nhwc", perm=[0, 2, 3, 1])
    writer.node("Reshape", [transposed, shape], output)


def public_names(net):
    """Tensor name inside the network -> name in the file."""
    return {tensor: public for public, tensor in net.outputs.items()}


def float_model(net, height, width, documentation):
    """The network as a float32 ONNX file."""
    writer, public = Writer(), public_names(net)
    for layer in net.layers:
        inputs, output = layer.inputs, public.get(layer.name, layer.name)
        if layer.op == "conv":
            weight = writer.constant(
                f"{layer.name}_weight", layer.weights["weight"].astype(np.float32)
            )
            bias = writer.constant(f"{layer.name}_bias", layer.weights["bias"].astype(np.float32))
            writer.node("Conv", [*inputs, weight, bias], output, **conv_attributes(layer))
        elif layer.op == "prelu":
            slope = layer.weights["slope"].astype(np.float32).reshape(-1, 1, 1)
            writer.node("PRelu", [*inputs, writer.constant(f"{layer.name}_slope", slope)], output)
        elif layer.op == "rows":
            rows(writer, layer, inputs[0], output, channels_of(net, inputs[0]))
        else:
            plain_layer(writer, layer, inputs, output)
    return writer.model(net, height, width, documentation)
