"""One peer in a process of its own: `networks.py` starts it and takes turns with it.

* The argument is a JSON object (see `networks.py`). The first line of the answer is
  `{"ready": true}` or `{"cannot": "why"}`; then, for each line of standard input, one JSON list of
  the microseconds of processor time that each run took, all threads of the process counted.
* At the end of the input the outputs are written to `outputs`, in the order of the ONNX file.
* What is timed is the call that a program makes for one picture: input handed over, network run,
  outputs readable. Making the input (layout, mean, scale) is not timed.
* Libraries that print do so to nowhere: the answers have a descriptor of their own.
* Nothing here reports to anybody: MNN's command-line converters send usage statistics and install
  a package for it, so that its converter is called as a library."""

import json
import os
import pathlib
import subprocess
import sys
import time

# Before any library starts its threads.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np

PORTRAITS = pathlib.Path(__file__).resolve().parents[2] / "src/demo/portraits"


class Task:
    """What is to be run, and on what."""

    def __init__(self, fields):
        self.file, self.folder = pathlib.Path(fields["file"]), pathlib.Path(fields["folder"])
        self.shape, self.precision = tuple(fields["shape"]), fields["precision"]
        self.mean, self.scale = fields["mean"], fields["scale"]
        height, width = self.shape[2:]
        self.image = np.fromfile(fields["image"], np.uint8).reshape(height, width, 3)
        self.names = fields["names"]

    def planes(self, image=None):
        image = self.image if image is None else image
        planes = image.astype(np.float32).transpose(2, 0, 1)[None]
        return np.ascontiguousarray((planes - self.mean) * self.scale)

    def converted(self, suffix):
        return self.folder / f"{self.file.stem}-{self.precision}{suffix}"

    def fixed(self):
        """The ONNX file with its size written in, for converters that want to know it."""
        import onnx

        path = self.converted("-fixed.onnx")
        model = onnx.load(str(self.file))
        for dimension, size in zip(
            model.graph.input[0].type.tensor_type.shape.dim, self.shape, strict=True
        ):
            dimension.dim_value = size
        onnx.save(model, str(path))
        return path


class Onnxruntime:
    def __init__(self, task):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(task.file), options, providers=["CPUExecutionProvider"]
        )
        self.input = {self.session.get_inputs()[0].name: task.planes()}

    def run(self):
        return self.session.run(None, self.input)


class OpenVino:
    def __init__(self, task):
        import openvino

        settings = {
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if task.precision == "bf16" else "f32",
        }
        core = openvino.Core()
        model = core.read_model(str(task.file))
        model.reshape(list(task.shape))
        self.request = core.compile_model(model, "CPU", settings).create_infer_request()
        self.input = [task.planes()]
        self.count = len(task.names)

    def run(self):
        self.request.infer(self.input, share_inputs=True, share_outputs=True)
        return [self.request.get_output_tensor(n).data for n in range(self.count)]


class Ncnn:
    def __init__(self, task):
        import ncnn

        self.ncnn = ncnn
        copy = task.converted(".onnx")
        copy.write_bytes(task.file.read_bytes())
        stem = copy.stem.replace("-", "_").replace(".", "_")
        param, weights = copy.parent / f"{stem}.ncnn.param", copy.parent / f"{stem}.ncnn.bin"
        size = "[" + ",".join(str(s) for s in task.shape) + "]"
        subprocess.run(
            [pathlib.Path(sys.executable).parent / "pnnx", str(copy), f"inputshape={size}"],
            check=True,
            cwd=copy.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.net = ncnn.Net()
        self.net.opt.num_threads = 1
        self.net.opt.use_bf16_storage = task.precision == "bf16"
        if self.net.load_param(str(param)) or self.net.load_model(str(weights)):
            raise RuntimeError("ncnn does not load what pnnx wrote")
        self.inputs, self.outputs = self.net.input_names(), self.net.output_names()
        self.blob = task.planes()[0]

    def run(self):
        extractor = self.net.create_extractor()
        extractor.input(self.inputs[0], self.ncnn.Mat(self.blob))
        return [np.asarray(extractor.extract(name)[1]) for name in self.outputs]


class OpenCv:
    def __init__(self, task):
        import cv2

        cv2.setNumThreads(1)
        self.net, self.names, self.blob = cv2.dnn.readNet(str(task.file)), task.names, task.planes()

    def run(self):
        self.net.setInput(self.blob)
        return self.net.forward(self.names)


class FaceDetectorYn:
    """Takes the photograph itself, and decodes as well."""

    def __init__(self, task):
        import cv2

        cv2.setNumThreads(1)
        height, width = task.shape[2:]
        self.detector = cv2.FaceDetectorYN.create(
            str(task.file), "", (width, height), 0.6, 0.45, 5000
        )
        self.image = task.image

    def run(self):
        self.detector.detect(self.image)


class Mnn:
    def __init__(self, task):
        import _tools
        import MNN

        self.MNN = MNN
        path = str(task.converted(".mnn"))
        _tools.mnnconvert(
            ["mnnconvert", "-f", "ONNX", "--modelFile", str(task.fixed()), "--MNNModel", path]
            + ["--bizCode", "watchpost", "--optimizeLevel", "1"]
        )
        if task.precision == "int8":
            path = self.quantized(_tools, task, path)
        self.net = MNN.Interpreter(path)
        precision = "low" if task.precision == "bf16" else "normal"
        self.session = self.net.createSession(
            {"backend": "CPU", "numThread": 1, "precision": precision}
        )
        self.input = self.net.getSessionInput(self.session)
        self.net.resizeTensor(self.input, task.shape)
        self.net.resizeSession(self.session)
        self.blob = MNN.Tensor(
            task.shape, MNN.Halide_Type_Float, task.planes(), MNN.Tensor_DimensionType_Caffe
        )
        self.outputs = []
        for name in task.names:
            tensor = self.net.getSessionOutput(self.session, name)
            shape = tensor.getShape()
            room = np.zeros(shape, np.float32)
            host = MNN.Tensor(shape, MNN.Halide_Type_Float, room, MNN.Tensor_DimensionType_Caffe)
            self.outputs.append((tensor, host))

    @staticmethod
    def quantized(tools, task, path):
        """By MNN's own quantizer, with the bundled photographs."""
        import cv2

        folder = task.folder / f"{task.file.stem}-photographs"
        folder.mkdir(exist_ok=True)
        height, width = task.shape[2:]
        for photograph in sorted(PORTRAITS.glob("*.jpg"))[:16]:
            small = cv2.resize(cv2.imread(str(photograph)), (width, height))
            cv2.imwrite(str(folder / f"{photograph.stem}.png"), small)
        settings = task.converted("-mnn.json")
        settings.write_text(
            json.dumps(
                {
                    "format": "BGR",
                    "mean": [task.mean] * 3,
                    "normal": [task.scale] * 3,
                    "width": width,
                    "height": height,
                    "path": f"{folder}/",
                    "used_image_num": 16,
                    "feature_quantize_method": "KL",
                    "weight_quantize_method": "MAX_ABS",
                }
            )
        )
        into = path.replace(".mnn", "-quantized.mnn")
        tools.mnnquant(["mnnquant", path, into, str(settings)])
        return into

    def run(self):
        self.input.copyFrom(self.blob)
        if code := self.net.runSession(self.session):
            raise RuntimeError(f"runSession gives {code}")
        for tensor, host in self.outputs:
            tensor.copyToHostTensor(host)
        return [host.getNumpyData() for _, host in self.outputs]


class ExecuTorch:
    """Lowered to XNNPACK as its documentation says, and quantized by its own quantizer. What
    XNNPACK does not take runs on ExecuTorch's portable kernels, which are plain loops."""

    def __init__(self, task):
        import torch

        torch.set_num_threads(1)
        blob = torch.from_numpy(task.planes())  # channels last was a tenth slower
        path = task.converted(".pte")
        path.write_bytes(self.lowered(torch, task, blob))
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        portable_lib._unsafe_reset_threadpool(1)
        self.program = Runtime.get().load_program(str(path))  # lives as long as the method
        self.method, self.input = self.program.load_method("forward"), [blob]

    @staticmethod
    def lowered(torch, task, blob):
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
        from onnx2torch import convert

        class Twice(torch.nn.Module):
            """In the place of onnx2torch's Resize, whose scales `torch.export` does not follow."""

            def forward(self, x, *_):
                return torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")

        module = convert(str(task.fixed())).eval()
        for name, part in list(module.named_children()):
            if type(part).__name__ == "OnnxResize":
                module.set_submodule(name, Twice())
        with torch.no_grad():
            exported = torch.export.export(module, (blob,), strict=True)
            if task.precision == "int8":
                from executorch.backends.xnnpack.quantizer import xnnpack_quantizer as xnnpack
                from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

                quantizer = xnnpack.XNNPACKQuantizer().set_global(
                    xnnpack.get_symmetric_quantization_config(is_per_channel=True)
                )
                prepared = prepare_pt2e(exported.module(), quantizer)
                prepared(blob)
                exported = torch.export.export(convert_pt2e(prepared), (blob,), strict=True)
            lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        return lowered.to_executorch().buffer

    def run(self):
        return self.method.execute(self.input)


class LiteRt:
    def __init__(self, task):
        import tflite
        from ai_edge_litert.interpreter import Interpreter

        height, width = task.shape[2:]
        ranges = self.ranges(tflite, task) if task.precision == "int8" else {}
        content = tflite.write(task.file, height, width, ranges)
        self.interpreter = Interpreter(model_content=content, num_threads=1)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]["index"]
        self.outputs = [d["index"] for d in self.interpreter.get_output_details()]
        kind = np.int8 if task.precision == "int8" else np.float32
        self.blob = np.ascontiguousarray(task.planes().transpose(0, 2, 3, 1).astype(kind))

    @staticmethod
    def ranges(tflite, task):
        """What the last convolutions give on this picture, by onnxruntime."""
        import onnx
        import onnxruntime

        names = tflite.last_convolutions(task.file)
        model = onnx.load(str(task.file))
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        values = session.run(names, {session.get_inputs()[0].name: task.planes()})
        return {n: float(np.abs(v).max()) for n, v in zip(names, values, strict=True)}

    def run(self):
        self.interpreter.set_tensor(self.input, self.blob)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(index) for index in self.outputs]


PEERS = {
    "onnxruntime": Onnxruntime,
    "OpenVINO": OpenVino,
    "ncnn": Ncnn,
    "OpenCV DNN": OpenCv,
    "OpenCV FaceDetectorYN": FaceDetectorYn,
    "MNN": Mnn,
    "ExecuTorch": ExecuTorch,
    "LiteRT": LiteRt,
}


def main():
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    fields = json.loads(sys.argv[1])
    try:
        peer = PEERS[fields["peer"]](Task(fields))
        result = peer.run()
        given = sum(np.asarray(output).size for output in result or ())
        if result is not None and given != fields["values"]:
            raise RuntimeError(f"{given} values come out, not {fields['values']}")
    except Exception as error:  # a peer that cannot do it is named, not hidden
        lines = str(error).strip().splitlines() or [type(error).__name__]
        print(json.dumps({"cannot": lines[0][:160]}), file=answers)
        return
    print(json.dumps({"ready": True}), file=answers)
    for _ in sys.stdin:
        micros = []
        for _ in range(fields["each"]):
            start = time.clock_gettime_ns(time.CLOCK_PROCESS_CPUTIME_ID)
            result = peer.run()
            took = time.clock_gettime_ns(time.CLOCK_PROCESS_CPUTIME_ID) - start
            micros.append(took / 1e3)
        print(json.dumps(micros), file=answers)
    if result is not None:
        values = [np.asarray(output, np.float32).ravel() for output in result]
        np.concatenate(values).tofile(fields["outputs"])


if __name__ == "__main__":
    main()
