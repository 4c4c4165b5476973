"""Trains a small classifier of waves in PyTorch and writes what the example from_pytorch reads:

weights.pt    torch.save(model.state_dict())
expected.npz  test waves with their lengths, their classes and the logits of the model
pytorch.txt   the time that PyTorch takes for a step of one wave

    python examples/from_pytorch/train.py                 # needs torch and numpy; takes a minute
    python examples/from_pytorch/train.py --check FILE    # also safetensors: FILE of the example's --save
"""

import sys
import time
from pathlib import Path

import numpy
import torch

FOLDER = Path(__file__).parent
STEPS = 40


class Classifier(torch.nn.Module):
    """The structure of this crate's SequenceClassifier with the pooling Mean, and its names."""

    def __init__(self):
        super().__init__()
        self.recurrent = torch.nn.GRU(1, 16)
        self.head = torch.nn.Linear(16, 3)

    def forward(self, x, lengths):
        alive = (torch.arange(len(x))[:, None] < lengths)[:, :, None]
        h = self.recurrent(x)[0] * alive
        return self.head(h.sum(0) / lengths[:, None])


def waves(count, generator):
    """Returns noisy sine, square and sawtooth waves [time, batch, 1], their lengths and classes."""
    lengths = torch.randint(STEPS // 2, STEPS + 1, (count,), generator=generator)
    classes = torch.randint(0, 3, (count,), generator=generator)
    period, start = 6 + 6 * torch.rand(2, count, generator=generator)
    phase = (torch.arange(STEPS)[:, None] + start) / period % 1
    shapes = torch.stack([torch.sin(2 * torch.pi * phase), torch.sign(0.5 - phase), 2 * phase - 1])
    x = shapes[classes, :, torch.arange(count)].T
    x = x + 0.3 * torch.randn(STEPS, count, generator=generator)
    return (x * (torch.arange(STEPS)[:, None] < lengths))[:, :, None], lengths, classes


def train(generator):
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(400):
        x, lengths, classes = waves(64, generator)
        loss = torch.nn.functional.cross_entropy(model(x, lengths), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@torch.no_grad()
def microseconds(model, x, rounds=50):
    """Returns the least mean time of a step of one wave, read step by step, and its class after each."""
    best = float("inf")
    for _ in range(rounds):
        h, total = torch.zeros(1, 1, 16), torch.zeros(1, 16)
        start = time.perf_counter()
        for t in range(len(x)):
            y, h = model.recurrent(x[t : t + 1], h)
            total = total + y[0]
            model.head(total / (t + 1)).argmax()
        best = min(best, (time.perf_counter() - start) / len(x))
    return 1e6 * best


def check(path):
    from safetensors.torch import load_file

    model = Classifier()
    model.load_state_dict(load_file(path), strict=True)
    expected = numpy.load(FOLDER / "expected.npz")
    x, lengths = (torch.from_numpy(expected[name]) for name in ["x", "x_lengths"])
    with torch.no_grad():
        error = abs(model(x, lengths).numpy() - expected["logits"]).max()
    print(f"load_state_dict(strict=True) takes {path}; logits differ by at most {error:.1e}")
    assert error < 1e-6


def main():
    if sys.argv[1:2] == ["--check"]:
        return check(sys.argv[2])
    torch.manual_seed(1)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    model = train(generator)
    x, lengths, classes = waves(30, generator)
    with torch.no_grad():
        logits = model(x, lengths)
    accuracy = (logits.argmax(1) == classes).double().mean()
    torch.save(model.state_dict(), FOLDER / "weights.pt")
    numpy.savez_compressed(
        FOLDER / "expected.npz",
        x=x.numpy(),
        x_lengths=lengths.numpy(),
        classes=classes.numpy(),
        logits=logits.numpy(),
    )
    step = microseconds(model, x[:, :1])
    text = f"{step:.1f} µs a step of one wave, torch {torch.__version__}, 1 thread\n"
    (FOLDER / "pytorch.txt").write_text(text)
    print(f"test accuracy {accuracy:.3f}, {text}", end="")


if __name__ == "__main__":
    main()
