"""The ONNX model of a case: an LSTM, GRU or RNN node for each layer, with both directions.

The layout is 0. The weights are initializers in ONNX's gate order, so that an engine can pack them once.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

ONNX_OP = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN"}
# The indices of ONNX's gates in PyTorch's order: i,o,f,c of i,f,g,o; z,r,h of r,z,n.
GATE_ORDER = {"lstm": [0, 3, 1, 2], "gru": [1, 0, 2], "rnn_tanh": [0]}
def reorder(cell, weight):
    gates = np.split(weight, len(GATE_ORDER[cell]), axis=0)
    return np.concatenate([gates[index] for index in GATE_ORDER[cell]], axis=0)


def build(case, tensors):
    """Returns the model, and the names of its state inputs and outputs by layer."""
    cell, directions = case["cell"], 2 if case["bidirectional"] else 1
    batch, hidden = case["batch"], case["hidden_size"]
    nodes, constants, states = [], [], ["h", "c"] if cell == "lstm" else ["h"]

    def constant(name, value):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def value(name, shape, kind=TensorProto.FLOAT):
        return helper.make_tensor_value_info(name, kind, shape)

    time = 1 if case["mode"] == "step" else case["time"]
    inputs, outputs = [value("x", [time, batch, case["input_size"]])], []
    if case["ragged"]:
        inputs.append(value("lengths", [batch], TensorProto.INT32))
    x = "x"
    for layer in range(case["num_layers"]):
        suffixes = [f"l{layer}", f"l{layer}_reverse"][:directions]

        def pick(kind):
            return [reorder(cell, tensors[f"{kind}_{suffix}"]) for suffix in suffixes]

        biases = [np.concatenate(pair) for pair in zip(pick("bias_ih"), pick("bias_hh"))]
        arguments = [
            x, constant(f"W{layer}", np.stack(pick("weight_ih"))),
            constant(f"R{layer}", np.stack(pick("weight_hh"))),
            constant(f"B{layer}", np.stack(biases)), "lengths" if case["ragged"] else "",
        ]
        for state in states:
            arguments.append(f"{state}_0_{layer}")
            inputs.append(value(f"{state}_0_{layer}", [directions, batch, hidden]))
            outputs.append(value(f"{state}_n_{layer}", [directions, batch, hidden]))
        attributes = {"hidden_size": hidden, "layout": 0}
        attributes["direction"] = "bidirectional" if directions == 2 else "forward"
        if cell == "gru":
            attributes["linear_before_reset"] = 1
        finals = [f"{state}_n_{layer}" for state in states]
        nodes.append(helper.make_node(ONNX_OP[cell], arguments, [f"Y{layer}", *finals], **attributes))
        # Y is [time, directions, batch, hidden]; the next layer takes [time, batch, directions*hidden].
        y = f"Y{layer}"
        if directions == 2:
            nodes.append(helper.make_node("Transpose", [y], [f"{y}_t"], perm=[0, 2, 1, 3]))
            y = f"{y}_t"
        last = layer + 1 == case["num_layers"]
        x = "output" if last else f"x{layer + 1}"
        shape = constant(f"shape{layer}", np.array([time, batch, directions * hidden], np.int64))
        nodes.append(helper.make_node("Reshape", [y, shape], [x]))
    outputs.insert(0, value("output", [time, batch, directions * hidden]))

    graph = helper.make_graph(nodes, case["name"], inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString(), [v.name for v in outputs[1:]]


def start_states(case, tensors, finals):
    """Returns the initial states by the names of the inputs; h_n_1 is fed from h_0's layer 1."""
    directions, start = 2 if case["bidirectional"] else 1, {}
    for final in finals:
        state, _, layer = final.split("_")
        rows = slice(int(layer) * directions, (int(layer) + 1) * directions)
        start[f"{state}_0_{layer}"] = np.ascontiguousarray(tensors[f"{state}_0"][rows])
    return start


def checked(finals, named):
    """Returns the tensors of the check from those of the model, by name."""
    tensors = {"output": named["output"].copy()}
    for state in ("h_n", "c_n"):
        layers = [named[name] for name in finals if name.startswith(state)]
        if layers:
            tensors[state] = np.concatenate(layers)
    return tensors
