"""`brackets`: an LSTM that says, at every letter, how many brackets are open."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from accweight_adapters.demo.gallery.networks.graphs import GraphWriter
from accweight_adapters.demo.gallery.networks.training import (
    GRAPH,
    Array,
    Course,
    Network,
    train,
    write_samples,
)

COURSE = Course(epochs=16, rate=0.01, batch=50, passes=2)
LETTERS, DEEPEST, LENGTH = "()ab", 4, 20
UNITS = 16

FIRST = "(a(b(a)b)a)(b((ab)))"
"""The first sequence of the samples, in which a span is selected."""

SPAN, SPAN_LENGTH = 4, 2
"""Where it begins, behind the third bracket, and its letters."""


class Counter(nn.Module):
    """An LSTM, and scores for the depth at every letter."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(len(LETTERS), UNITS, batch_first=True)
        self.out = nn.Linear(UNITS, DEEPEST + 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (samples, times, depths) scores."""
        scores: Tensor = self.out(self.lstm(x)[0])
        return scores


def make(folder: Path, seed: int, share: float) -> Mapping[str, Any]:
    """Train it; the depth is known at every letter."""
    module = Counter()
    texts = written(600, np.random.default_rng(0))
    train(module, as_numbers(texts), folder, COURSE.shorter(share, 10), seed)
    x, y = as_numbers([FIRST, *written(199, np.random.default_rng(1))])
    write_samples(folder, x, y, vocabulary=tuple(LETTERS))
    graph = GraphWriter(module, (LENGTH, len(LETTERS))).recurrent("lstm", "LSTM")
    graph.linear_at_times("out").write(folder / GRAPH, (LENGTH, DEEPEST + 1))
    depth = as_numbers([FIRST])[1][0, SPAN + SPAN_LENGTH - 1]
    return {"text": FIRST, "depth": int(depth)}


def written(count: int, chance: np.random.Generator) -> list[str]:
    """Return texts of brackets and letters, never deeper than `DEEPEST` and never below 0."""
    found = []
    for _ in range(count):
        depth, text = 0, ""
        for _ in range(LENGTH):
            allowed = ("(" if depth < DEEPEST else "") + (")" if depth > 0 else "") + "ab"
            text += str(chance.choice(list(allowed)))
            depth += {"(": 1, ")": -1}.get(text[-1], 0)
        found.append(text)
    return found


def as_numbers(texts: list[str]) -> tuple[Array, Array]:
    """Return (texts, LENGTH, letters) with a 1 for the letter that is there, and the depths."""
    places = np.array([[LETTERS.index(letter) for letter in text] for text in texts])
    steps = (places == 0).astype(np.int64) - (places == 1)
    return np.eye(len(LETTERS), dtype=np.float32)[places], steps.cumsum(axis=1)


BRACKETS = Network("brackets", "an LSTM that counts how many brackets are open", make)
