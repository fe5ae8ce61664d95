"""Writes one of the two networks, in floating point or quantized, as a TFLite file.

* Same weights, same scales, same order of operations: an int8 file keeps the integers of the ONNX
  file. No converter of the package index can do that: `litert-torch` and `onnx2tf` start from
  floating point and quantize again.
* Activations are NHWC. A `Relu` of the same scale is part of its convolution, as TFLite has it.
* TFLite has no int8 convolution with a floating-point result. The last convolutions, whose sums
  leave the ONNX file as float32, get a scale from `ranges`.
* Only the operators of these networks; anything else is an error that names it."""

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

INT8, INT32, FLOAT = schema.TensorType.INT8, schema.TensorType.INT32, schema.TensorType.FLOAT32
OPERATOR = schema.BuiltinOperator
NUMPY = {INT8: np.int8, INT32: np.int32, FLOAT: np.float32}


class Writer:
    def __init__(self, model, height, width, ranges):
        self.graph, self.ranges = model.graph, ranges
        self.constants = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
        self.quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
        self.uses = {}
        for node in model.graph.node:
            for name in node.input:
                self.uses[name] = self.uses.get(name, 0) + 1
        self.after = {name: node for node in model.graph.node for name in node.input}
        self.model = schema.ModelT()
        self.model.version, self.model.description = 3, "watchpost"
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        self.sub = schema.SubGraphT()
        self.sub.tensors, self.sub.operators = [], []
        self.model.subgraphs = [self.sub]
        self.codes = {}
        self.values = {}  # name in the ONNX file -> tensor here
        self.made_by = {}  # tensor -> convolution that makes it
        kind, scale = (INT8, 1.0) if self.quantized else (FLOAT, None)
        name = model.graph.input[0].name
        self.values[name] = self.tensor(name, (1, height, width, 3), kind, scale)
        self.sub.inputs = [self.values[name]]

    def tensor(self, name, shape, kind, scale=None, data=None, axis=0):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, [int(s) for s in shape], kind
        tensor.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, NUMPY[kind]).tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
            tensor.quantization.quantizedDimension = axis
        self.sub.tensors.append(tensor)
        return len(self.sub.tensors) - 1

    def shape(self, tensor):
        return self.sub.tensors[tensor].shape

    def scale(self, tensor):
        quantization = self.sub.tensors[tensor].quantization
        return None if quantization is None else float(quantization.scale[0])

    def operator(self, code, inputs, output, options=None, version=1):
        if code not in self.codes:
            entry = schema.OperatorCodeT()
            entry.builtinCode = code
            entry.deprecatedBuiltinCode = min(code, 127)
            entry.version = version
            self.codes[code] = len(self.model.operatorCodes)
            self.model.operatorCodes.append(entry)
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes[code]
        operator.inputs, operator.outputs = list(inputs), [output]
        if options is not None:
            operator.builtinOptions = options
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        self.sub.operators.append(operator)
        return operator

    def result(self, node, shape):
        """A tensor for what the node makes, of the type and scale that the file wants it in."""
        name = node.output[0]
        if not self.quantized:
            return self.tensor(name, shape, FLOAT)
        after = self.after.get(name)
        if after is not None and after.op_type == "QuantizeLinear":
            return self.tensor(name, shape, INT8, self.constants[after.input[1]])
        return self.tensor(name, shape, INT8, self.ranges[name] / 127)

    def weights(self, name):
        """A constant behind its DequantizeLinear: integers and scales, or plain numbers."""
        if name in self.constants:
            return self.constants[name], None
        node = next(n for n in self.graph.node if name in n.output)
        return self.constants[node.input[0]], self.constants[node.input[1]]

    def padded(self, source, pads):
        top, left, bottom, right = pads
        n, h, w, c = self.shape(source)
        amounts = self.tensor(
            "pads", (4, 2), INT32, data=[[0, 0], [top, bottom], [left, right], [0, 0]]
        )
        kind = self.sub.tensors[source].type
        padded = self.tensor(
            "padded", (n, h + top + bottom, w + left + right, c), kind, self.scale(source)
        )
        self.operator(OPERATOR.PAD, [source, amounts], padded, schema.PadOptionsT(), 2)
        return padded

    def conv(self, node, attributes):
        source = self.values[node.input[0]]
        (weight, scales), (bias, _) = self.weights(node.input[1]), self.weights(node.input[2])
        pads, strides = attributes.get("pads", [0] * 4), attributes.get("strides", [1, 1])
        group, (height, width) = attributes.get("group", 1), weight.shape[2:]
        outputs = weight.shape[0]
        same = strides == [1, 1] and pads == [height // 2, width // 2] * 2 and height % 2 == 1
        if any(pads) and not same:
            source = self.padded(source, pads)
        _, h, w, channels = self.shape(source)
        if not (same and any(pads)):
            h, w = (h - height) // strides[0] + 1, (w - width) // strides[1] + 1
        depthwise = group > 1
        if depthwise and not (group == channels == outputs):
            raise ValueError("a grouped convolution that is not depth-wise")
        order, axis = ((1, 2, 3, 0), 3) if depthwise else ((0, 2, 3, 1), 0)
        weight = weight.transpose(order)
        if self.quantized:
            into = np.float64(self.scale(source)) * scales.astype(np.float64)
            kernel = self.tensor("weight", weight.shape, INT8, scales, data=weight, axis=axis)
            addend = self.tensor("bias", bias.shape, INT32, into.astype(np.float32), data=bias)
        else:
            kernel = self.tensor("weight", weight.shape, FLOAT, data=weight)
            addend = self.tensor("bias", bias.shape, FLOAT, data=bias)
        output = self.result(node, (1, h, w, outputs))
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.padding = schema.Padding.SAME if same and any(pads) else schema.Padding.VALID
        options.strideH, options.strideW = strides
        options.dilationHFactor = options.dilationWFactor = 1
        code = OPERATOR.CONV_2D
        if depthwise:
            code, options.depthMultiplier = OPERATOR.DEPTHWISE_CONV_2D, 1
        self.made_by[output] = self.operator(code, [source, kernel, addend], output, options, 3)
        return output

    def relu(self, node, _attributes):
        source = self.values[node.input[0]]
        conv = self.made_by.get(source)
        wanted = self.result(node, self.shape(source))
        if (
            conv is None
            or self.uses[node.input[0]] != 1
            or self.scale(source) != self.scale(wanted)
        ):
            raise ValueError("a Relu that does not follow its convolution")
        conv.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU
        conv.outputs = [wanted]
        return wanted

    def prelu(self, node, _attributes):
        source, slope = self.values[node.input[0]], self.constants[node.input[1]]
        shape, slope = self.shape(source), slope.reshape(1, 1, -1)
        wanted = self.result(node, shape)
        alpha = self.tensor("slope", slope.shape, FLOAT, data=slope)
        if not self.quantized:
            self.operator(OPERATOR.PRELU, [source, alpha], wanted)
            return wanted
        # XNNPACK has no PRELU of integers, TFLite's own is a plain loop.
        real, bent = (self.tensor(f"{node.output[0]}_{n}", shape, FLOAT) for n in ("in", "out"))
        self.operator(OPERATOR.DEQUANTIZE, [source], real, schema.DequantizeOptionsT(), 2)
        self.operator(OPERATOR.PRELU, [real, alpha], bent)
        self.operator(OPERATOR.QUANTIZE, [bent], wanted, schema.QuantizeOptionsT(), 1)
        return wanted

    def add(self, node, _attributes):
        inputs = [self.values[name] for name in node.input]
        wanted = self.result(node, self.shape(inputs[0]))
        options = schema.AddOptionsT()
        options.potScaleInt16 = False
        self.operator(OPERATOR.ADD, inputs, wanted, options, 2)
        return wanted

    def maxpool(self, node, attributes):
        source = self.values[node.input[0]]
        _, h, w, c = self.shape(source)
        if attributes["kernel_shape"] != [2, 2] or attributes["strides"] != [2, 2]:
            raise ValueError("a pool that is not 2x2")
        wanted = self.result(node, (1, h // 2, w // 2, c))
        options = schema.Pool2DOptionsT()
        options.padding = schema.Padding.VALID
        options.strideH = options.strideW = options.filterHeight = options.filterWidth = 2
        self.operator(OPERATOR.MAX_POOL_2D, [source], wanted, options, 2)
        return wanted

    def resize(self, node, _attributes):
        source = self.values[node.input[0]]
        _, h, w, c = self.shape(source)
        wanted = self.result(node, (1, 2 * h, 2 * w, c))
        size = self.tensor("size", (2,), INT32, data=[2 * h, 2 * w])
        options = schema.ResizeNearestNeighborOptionsT()
        options.alignCorners = options.halfPixelCenters = False
        self.operator(OPERATOR.RESIZE_NEAREST_NEIGHBOR, [source, size], wanted, options, 2)
        return wanted

    def reshaped(self, node, shape):
        source = self.values[node.input[0]]
        origin = self.sub.tensors[source]
        wanted = self.tensor(node.output[0], shape, origin.type, self.scale(source))
        new = self.tensor("shape", (len(shape),), INT32, data=list(shape))
        options = schema.ReshapeOptionsT()
        options.newShape = np.asarray(shape, np.int32)
        self.operator(OPERATOR.RESHAPE, [source, new], wanted, options)
        return wanted

    def reshape(self, node, _attributes):
        _, h, w, c = self.shape(self.values[node.input[0]])
        return self.reshaped(node, (1, h * w, c))

    def flatten(self, node, _attributes):
        return self.reshaped(node, (1, int(np.prod(self.shape(self.values[node.input[0]])))))

    def sigmoid(self, node, _attributes):
        source = self.values[node.input[0]]
        shape = self.shape(source)
        if self.quantized:  # of integers, it would end at 1/256, and scores are smaller
            real = self.tensor(f"{node.output[0]}_in", shape, FLOAT)
            self.operator(OPERATOR.DEQUANTIZE, [source], real, schema.DequantizeOptionsT(), 2)
            source = real
        wanted = self.tensor(node.output[0], shape, FLOAT)
        self.operator(OPERATOR.LOGISTIC, [source], wanted, None, 2)
        return wanted

    def transpose(self, node, attributes):
        if attributes["perm"] != [0, 2, 3, 1]:
            raise ValueError("a transposition that is not to NHWC")
        return self.values[node.input[0]]  # they are NHWC here

    def same(self, node, _attributes):
        return self.values.get(node.input[0])  # constants are read where they are used

    def write(self):
        makers = {
            "QuantizeLinear": self.same,
            "DequantizeLinear": self.same,
            "Conv": self.conv,
            "Relu": self.relu,
            "PRelu": self.prelu,
            "Add": self.add,
            "MaxPool": self.maxpool,
            "Resize": self.resize,
            "Transpose": self.transpose,
            "Reshape": self.reshape,
            "Flatten": self.flatten,
            "Sigmoid": self.sigmoid,
        }
        for node in self.graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type not in makers:
                raise ValueError(f"no {node.op_type} in this writer")
            self.values[node.output[0]] = makers[node.op_type](node, attributes)
        self.sub.outputs = []
        for output in self.graph.output:
            value = self.values[output.name]
            if self.sub.tensors[value].type == INT8:
                real = self.tensor(f"{output.name}_real", self.shape(value), FLOAT)
                self.operator(OPERATOR.DEQUANTIZE, [value], real, schema.DequantizeOptionsT(), 2)
                value = real
            self.sub.outputs.append(value)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def write(path, height, width, ranges):
    """The TFLite file for an ONNX file; `ranges` has the largest magnitude of what each of the last
    convolutions gives."""
    return Writer(onnx.load(str(path)), height, width, ranges).write()


def last_convolutions(path):
    """Names of what leaves the quantized file without a scale."""
    graph = onnx.load(str(path)).graph
    after = {name: node.op_type for node in graph.node for name in node.input}
    return [
        node.output[0]
        for node in graph.node
        if node.op_type == "Conv" and after.get(node.output[0]) != "QuantizeLinear"
    ]
