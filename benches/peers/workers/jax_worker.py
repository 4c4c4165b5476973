"""The worker of JAX: lax.scan over time, compiled by XLA for the CPU, with jax.vjp for training.

The inputs of all steps are multiplied at once before the scan, with weights of the shape [input, gates]
that are transposed at load. A run is the faster of the scan as it is and of one with four steps in a turn.
A step gives its state's memory to the next (donation).
"""

import functools
import os

import numpy as np
from protocol import faster, serve, threads_argument

THREADS = threads_argument()
os.environ["JAX_PLATFORMS"] = "cpu"
if THREADS == 1:  # else XLA takes a thread for each core to which the process is pinned
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"

import jax  # noqa: E402 (reads the environment)
import jax.numpy as jnp  # noqa: E402

jax.config.update("jax_enable_x64", True)

UNROLLS = (1, 4)
LEARNING_RATE, BETA_1, BETA_2, EPSILON, CLIP = 1e-3, 0.9, 0.999, 1e-8, 1.0


def advance(cell, from_x, state, w, b):
    """Returns the states after a step from those before and the inputs' part of the gates."""
    h = state[0]
    from_h = h @ w
    if cell == "rnn_tanh":
        return (jnp.tanh(from_x + from_h),)
    if cell == "gru":
        (r_x, z_x, n_x), (r_h, z_h, n_h) = jnp.split(from_x, 3, -1), jnp.split(from_h + b, 3, -1)
        r, z = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
        n = jnp.tanh(n_x + r * n_h)
        return ((1 - z) * n + z * h,)
    i, f, g, o = jnp.split(from_x + from_h, 4, -1)
    c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def inputs_part(cell, x, weights):
    """Returns the part of the gates that the inputs give, with the biases that are added to it."""
    w, _, b_x, b_h = weights
    return x @ w + (b_x if cell == "gru" else b_x + b_h)


def layer(cell, x, state, weights, alive, reverse, unroll):
    """Returns the outputs and last states of one direction. `alive` is None or [time, batch, 1]."""
    def turn(state, row):
        from_x, on = row
        after = advance(cell, from_x, state, weights[1], weights[3])
        if on is None:
            return after, after[0]
        return tuple(jnp.where(on, a, s) for a, s in zip(after, state)), jnp.where(on, after[0], 0)

    rows = inputs_part(cell, x, weights), alive
    state, outputs = jax.lax.scan(turn, state, rows, reverse=reverse, unroll=unroll)
    return outputs, state


def network(cell, directions, x, start, weights, alive=None, unroll=1):
    """Returns [outputs, h_n, c_n]; `weights` has a tuple for each layer and direction."""
    finals = []
    for below in range(0, len(weights), directions):
        outputs = []
        for k in range(directions):
            state = tuple(s[below + k] for s in start)
            output, state = layer(cell, x, state, weights[below + k], alive, k == 1, unroll)
            outputs.append(output)
            finals.append(state)
        x = jnp.concatenate(outputs, -1) if directions == 2 else outputs[0]
    return [x, *(jnp.stack(s) for s in zip(*finals))]


def suffixes(case):
    ends = ["", "_reverse"][: 2 if case["bidirectional"] else 1]
    return [f"l{index}{end}" for index in range(case["num_layers"]) for end in ends]


KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def loaded(tensors, suffix, prefix=""):
    """Returns the weights of a layer and direction, transposed to [input, gates]."""
    return tuple(jnp.asarray(np.ascontiguousarray(tensors[f"{prefix}{kind}_{suffix}"].T)) for kind in KINDS)


class Sequence:
    """Inference or training. The function compiled for a case is kept, as the case is loaded twice."""

    kept = None, None  # the name of the case and its function

    def __init__(self, case, tensors):
        self.case, self.cell = case, case["cell"]
        self.directions = 2 if case["bidirectional"] else 1
        states = [s for s in ("h_0", "c_0") if s in tensors]
        self.start = tuple(jnp.asarray(tensors[s]) for s in states)
        self.weights = [loaded(tensors, suffix) for suffix in suffixes(case)]
        self.x, self.alive = jnp.asarray(tensors["x"]), None
        if case["ragged"]:
            self.alive = jnp.asarray(np.arange(case["time"])[:, None, None] < tensors["lengths"][:, None])
        self.upstream = [jnp.asarray(tensors[n]) for n in ("d_output", "d_h_n", "d_c_n") if n in tensors]
        self.prepare()

    def prepare(self):
        if Sequence.kept[0] != self.case["name"]:
            work = self.forward_backward if self.case["mode"] == "train" else self.forward
            functions = [jax.jit(functools.partial(work, unroll=unroll)) for unroll in UNROLLS]
            runs = [functools.partial(self.once, function) for function in functions]
            Sequence.kept = self.case["name"], functions[runs.index(faster(runs))]
        self.run = functools.partial(self.once, Sequence.kept[1])

    def forward(self, x, start, weights, alive, upstream, unroll):
        return network(self.cell, self.directions, x, start, weights, alive, unroll), None

    def forward_backward(self, x, start, weights, alive, upstream, unroll):
        def outputs(*inputs):
            return network(self.cell, self.directions, *inputs, alive, unroll)

        results, back = jax.vjp(outputs, x, start, weights)
        return results, back(upstream)

    def once(self, function):
        return jax.block_until_ready(
            function(self.x, self.start, self.weights, self.alive, self.upstream)
        )

    def check(self):
        results, gradients = self.run()
        tensors = dict(zip(("output", "h_n", "c_n"), results))
        if gradients:
            d_x, d_start, d_weights = gradients
            tensors |= {"d_x": d_x, **dict(zip(("d_h_0", "d_c_0"), d_start))}
            for suffix, grads in zip(suffixes(self.case), d_weights):
                tensors |= {f"d_{kind}_{suffix}": grad.T for kind, grad in zip(KINDS, grads)}
        return {name: np.ascontiguousarray(value) for name, value in tensors.items()}


class Step(Sequence):
    def prepare(self):
        def advanced(x, state, weights):
            output, *state = network(self.cell, 1, x, state, weights)
            return output[0], tuple(state)

        self.function = jax.jit(advanced, donate_argnums=1)
        self.rows = [self.x[t : t + 1] for t in range(len(self.x))]
        self.reset()

    def reset(self):
        self.t, self.state = 0, tuple(jnp.array(s, copy=True) for s in self.start)

    def run(self):
        output, self.state = self.function(self.rows[self.t % len(self.rows)], self.state, self.weights)
        self.t += 1
        return output.block_until_ready()

    def check(self):
        self.reset()
        for _ in range(10):
            output = self.run()
        return {"output": np.ascontiguousarray(output)}


class CharLm:
    """Embedding, stacked LSTM, linear, mean cross entropy, clipping at norm 1, Adam(1e-3)."""

    def __init__(self, case, tensors):
        self.layers, self.shape = case["num_layers"], (case["num_layers"], case["batch"], case["hidden_size"])
        self.parameters = {
            "embedding": jnp.asarray(tensors["embedding.weight"]),
            "lstm": [loaded(tensors, suffix, "lstm.") for suffix in suffixes(case)],
            "linear": jnp.asarray(np.ascontiguousarray(tensors["linear.weight"].T)),
            "bias": jnp.asarray(tensors["linear.bias"]),
        }
        zeros = jax.tree.map(jnp.zeros_like, self.parameters)
        self.moments, self.count = (zeros, jax.tree.map(jnp.copy, zeros)), jnp.zeros((), jnp.int32)
        self.tokens = jnp.asarray(tensors["tokens"])
        self.update = jax.jit(self.updated, donate_argnums=(0, 1))

    def loss(self, parameters, tokens):
        zero = jnp.zeros(self.shape, parameters["embedding"].dtype)
        x = parameters["embedding"][tokens[:-1]]
        output, *_ = network("lstm", 1, x, (zero, zero), parameters["lstm"])
        scores = jax.nn.log_softmax(output @ parameters["linear"] + parameters["bias"])
        return -jnp.take_along_axis(scores, tokens[1:, :, None], -1).mean()

    def updated(self, parameters, moments, count, tokens):
        loss, grads = jax.value_and_grad(self.loss)(parameters, tokens)
        norm = jnp.sqrt(sum(jnp.sum(grad**2) for grad in jax.tree.leaves(grads)))
        scale = jnp.minimum(1.0, CLIP / (norm + 1e-6))
        grads, count = jax.tree.map(lambda grad: grad * scale, grads), count + 1
        first = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, moments[0], grads)
        second = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g**2, moments[1], grads)
        rate_1, rate_2 = 1 - BETA_1**count.astype(norm.dtype), 1 - BETA_2**count.astype(norm.dtype)
        parameters = jax.tree.map(
            lambda p, m, v: p - LEARNING_RATE * (m / rate_1) / (jnp.sqrt(v / rate_2) + EPSILON),
            parameters, first, second,
        )
        return parameters, (first, second), count, loss, norm

    def run(self):
        self.parameters, self.moments, self.count, loss, norm = jax.block_until_ready(
            self.update(self.parameters, self.moments, self.count, self.tokens)
        )
        return loss, norm

    def check(self):
        losses, norms = zip(*(self.run() for _ in range(3)))
        return {"loss": np.array(losses), "grad_norm": np.array(norms)}


def make(case, tensors):
    return {"step": Step, "char_lm": CharLm}.get(case["mode"], Sequence)(case, tensors)


if __name__ == "__main__":
    serve("jax", jax.__version__, make)
