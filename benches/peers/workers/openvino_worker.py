"""The worker of OpenVINO, which runs a case's ONNX model by oneDNN with weights reordered once.

The precision is f32: by default OpenVINO computes in bf16 where the CPU has it. Inputs and outputs are
tensors that share the memory of arrays and are set once. A run is InferRequest.infer on them.
"""

import numpy as np
import openvino as ov
from onnx_model import build, checked, start_states
from protocol import Unsupported, serve, threads_argument

THREADS = 1


class Work:
    def __init__(self, case, tensors):
        if case["dtype"] != "f32":
            raise Unsupported("OpenVINO computes in f32 or less")
        if case["mode"] not in ("infer", "step"):
            raise Unsupported("OpenVINO runs inference only")
        self.case, core = case, ov.Core()
        model, self.finals = build(case, tensors)
        options = {
            "INFERENCE_NUM_THREADS": THREADS,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        compiled = core.compile_model(core.read_model(model), "CPU", options)
        self.start = start_states(case, tensors, self.finals)
        self.lengths = {"lengths": tensors["lengths"].astype(np.int32)} if case["ragged"] else {}
        self.x, self.t = np.ascontiguousarray(tensors["x"]), 0
        step = case["mode"] == "step"
        # Steps alternate between two requests, so that the states of one are the inputs of the other.
        count = 2 if step else 1
        states = [{name: value.copy() for name, value in self.start.items()} for _ in range(count)]
        finals = [{name: np.zeros_like(value) for name, value in self.start.items()} for _ in range(count)]
        self.requests, self.outputs, self.inputs, self.states = [], [], [], states
        for k in range(count):
            x = np.zeros_like(self.x[:1]) if step else self.x
            width = case["hidden_size"] * (2 if case["bidirectional"] else 1)
            output = np.zeros((x.shape[0], case["batch"], width), np.float32)
            after = states[1 - k] if step else finals[0]
            named = {"output": output}
            named |= {final: after[final.replace("_n_", "_0_")] for final in self.finals}
            request = compiled.create_infer_request()
            for name, value in {"x": x, **states[k], **self.lengths}.items():
                request.set_tensor(name, ov.Tensor(value, shared_memory=True))
            for name, value in named.items():
                request.set_tensor(name, ov.Tensor(value, shared_memory=True))
            self.requests.append(request)
            self.outputs.append(named)
            self.inputs.append(x)
        self.run = self.step if step else self.whole

    def whole(self):
        self.requests[0].infer()
        return self.outputs[0]

    def step(self):
        k = self.t % 2
        self.inputs[k][0] = self.x[self.t % len(self.x)]
        self.requests[k].infer()
        self.t += 1
        return self.outputs[k]

    def check(self):
        if self.case["mode"] == "step":
            self.t = 0
            for name, value in self.start.items():
                self.states[0][name][...] = value
            for _ in range(10):
                named = self.run()
            return {"output": named["output"][0].copy()}
        return checked(self.finals, self.run())


if __name__ == "__main__":
    THREADS = threads_argument()
    serve("openvino", ov.__version__.split("-")[0], Work)
