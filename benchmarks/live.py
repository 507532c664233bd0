"""What a tracker costs while a model trains: processor time and memory, with a store.

    python benchmarks/live.py [--model cnn|transformer] [--rounds N]

Trains a small convolutional network on images like MNIST, captured once per epoch, and a
transformer of 100 million weights, captured every 100 steps, both on one thread of a CPU. Compares
the processor time of a capture, in all threads, with that of the training in between, which is
measured over a few steps in the same run. Memory is what the process has of its own: mapped files
are not counted. Numbers are checked against `analyze` on copies of the weights (of the network).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import accweight_core as aw

GOAL = 0.01
"""Most of the processor time of training that captures may take."""


def cnn() -> nn.Module:
    """Return a network of two convolutions and two linear layers for 28 x 28 images."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


class Transformer(nn.Module):
    """A decoder of 12 blocks with 768 channels: 99 million weights with its table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(18_000, 768)
        block = nn.TransformerEncoderLayer(768, 12, 3072, dropout=0, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, 12, enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of the next tokens."""
        found: Tensor = self.blocks(self.table(tokens)) @ self.table.weight.T
        return found


def step_of(model: nn.Module, batch: Callable[[], tuple[Tensor, Tensor]]) -> Callable[[], None]:
    """Return a function that trains for one step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        inputs, targets = batch()
        logits = model(inputs)
        loss = nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def own_bytes() -> int:
    """Return the memory of this process without files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def measured(
    name: str,
    model: nn.Module,
    step: Callable[[], None],
    steps: int,
    sampled: int,
    rounds: int,
    every: int | None,
) -> None:
    """Train and capture, and print the costs.

    Args:
        name: What to call it.
        model: The model.
        step: Trains for one step.
        steps: Steps between two captures.
        sampled: Steps that are run for a measurement; the others are taken to cost the same.
        rounds: Captures, besides the first one.
        every: Schedule of the tracker.
    """
    weights = sum(parameter.numel() for parameter in model.parameters())
    step()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path, before, copies = Path(folder) / "live.accw", own_bytes(), []
        tracker = aw.ChangeTracker(path, every=every, errors="raise")
        captures, trained, skipped = [], [], []
        for number in range(rounds + 1):
            began, here = time.process_time(), time.perf_counter()
            tracker.update(model, step=number * steps)
            stopped = time.perf_counter() - here
            tracker.flush()
            captures.append((time.process_time() - began, stopped))
            if weights < 1 << 20:
                copies.append({n: v.clone() for n, v in model.state_dict().items()})
            began = time.process_time()
            for _ in range(sampled):
                step()
            trained.append((time.process_time() - began) / sampled * steps)
            began = time.process_time()
            for skip in range(1, 1001) if every else ():
                tracker.update(model, step=number * steps + 1 + skip % (steps - 1))
            skipped.append((time.process_time() - began) / 1000)
        after = own_bytes()
        tracker.close()
        stored = aw.open_analysis(path)
        assert len(stored.steps) == rounds + 1
        if copies:
            assert stored.values.tobytes() == aw.analyze(copies).values.tobytes()
    cost = statistics.median(capture for capture, _ in captures[1:])
    between = statistics.median(trained)
    wait = statistics.median(stopped for _, stopped in captures[1:])
    print(f"{name}: {weights / 1e6:.1f} million weights, {steps} steps between captures")
    print(f"  training in between   {between:10.2f} s of processor time")
    print(
        f"  capture, all threads  {cost:10.4f} s of processor time (first {captures[0][0]:.2f} s)"
    )
    print(f"  training stood still  {wait:10.4f} s")
    if every:
        print(f"  update that is skipped {statistics.median(skipped) * 1e6:8.1f} us")
    share = cost / between
    verdict = "met" if share < GOAL else "missed"
    print(f"  overhead              {share:10.2%} (goal {GOAL:.0%}: {verdict})")
    print(f"  own memory            {(after - before) / weights / 4:10.2f} x the weights")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=["cnn", "transformer"])
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if asked.model != "transformer":
        model: nn.Module = cnn()
        images = torch.randn(64, 1, 28, 28), torch.randint(10, (64,))
        step = step_of(model, lambda: images)
        measured("network, per epoch", model, step, 938, 10, asked.rounds, None)
    if asked.model != "cnn":
        model = Transformer()
        tokens = torch.randint(18_000, (2, 1, 128))
        step = step_of(model, lambda: (tokens[0], tokens[1]))
        measured("transformer, every=100", model, step, 100, 1, asked.rounds, 100)


if __name__ == "__main__":
    main()
