"""The probe `attribution`: which parts of an input an output depends on, at every step.

Four methods, all on the gradient of one output with respect to the input:

- ``gradient``: the gradient itself (Simonyan, Vedaldi and Zisserman, arXiv 1312.6034);
- ``gradient_x_input``: times the input, so that parts add up for a linear network;
- ``smoothgrad``: the mean gradient over noisy copies (Smilkov et al., arXiv 1706.03825);
- ``integrated``: the mean gradient on the straight line from a baseline, times the distance; parts
  add up to the change of the output (Sundararajan, Taly and Yan, arXiv 1703.01365).

Inputs that are whole numbers, such as tokens, have no gradient: there it is taken at the node of
their embedding, and each token has the sum over its vector. The baseline of `integrated` is then a
vector of equal elements, or that of a token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.context import Context
from accweight_core.probes.likeness import likeness_to_last
from accweight_core.probes.network import OUTPUT
from accweight_core.probes.pixels import (
    PICTURE,
    in_rows,
    picture_lengths,
    pictured,
    pictures_of,
    sample_lengths,
    scale_field,
)
from accweight_core.probes.probe import (
    Array,
    Batch,
    Needs,
    Probe,
    Results,
    Schema,
    Step,
    array,
    final,
    option,
    stacked,
)
from accweight_core.probes.varied import Explained, Varied, by_unit
from accweight_core.samples.pictures import fills_square

Gradient = Callable[[Array], Array]
"""The gradient of the chosen outputs with respect to what is varied, sample by sample."""

WITH_BASELINE = "integrated"

MUCH_APART = 0.1
"""Share of the change of the output from which on it is said at which step parts miss it."""


@dataclass
class Attribution(Probe):
    """Which parts of an input an output depends on, by gradients."""

    name, version, needs = "attribution", 3, Needs.FORWARD | Needs.INPUT_GRADIENT
    reading = (
        "Parts above 0 speak for the output, parts below 0 against it, as far as a gradient "
        "tells: for small changes of the input."
    )

    method: Literal["gradient", "gradient_x_input", "smoothgrad", "integrated"] = option(
        "gradient", "how parts are rated"
    )
    samples: int = option(8, "samples, drawn from all classes", least=1)
    unit: int | None = option(
        None, "output that is explained; by default the class of the sample, or the largest output"
    )
    at: int = option(-1, "position that is explained, of outputs per token; by default the last")
    node: str = option("", "node that is varied, for tokens; by default that of their embedding")
    points: int = option(
        32, "noisy copies (smoothgrad), or points on the line (integrated)", least=1
    )
    noise: float = option(0.1, "noise of smoothgrad, in parts of the range of a sample")
    baseline: float = option(0.0, "value of every element of the baseline of integrated")
    token: int | None = option(None, "token whose embedding is the baseline, such as a padding")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the shape of the input and of the output."""
        self._rows = context.chosen_rows(self.samples)
        self._seed = context.seed
        self._varied = Varied.of(context, self.node)
        if self.token is not None and self._varied.axes is None:
            raise ArgumentValueError(
                "probe 'attribution': token= is for inputs that are whole numbers; the baseline of "
                "others is baseline="
            )
        self._explained = Explained.of(context, context.tried()[OUTPUT], self.at)
        numbers = self._explained.numbers
        if self.unit is not None and not 0 <= self.unit < numbers:
            raise ArgumentValueError(
                f"probe 'attribution': there is no output {self.unit}; the network has {numbers}, "
                "counted from 0"
            )
        self._labels = self._explained.classes(context.data.targets[self._rows])
        return self._schema(self._varied.shape)

    def _schema(self, shape: tuple[int, ...]) -> Schema:
        rows = self._rows.tolist()
        picture = self._pictures(np.zeros((1, *shape), np.float32))[0, ..., None]
        parts = sample_lengths(shape)
        incomplete = array(
            "incomplete", "step",
            "largest share of a change of the output that the parts do not add up to",
        )  # fmt: skip
        attributes = {
            "rows": rows,
            "method": self.method,
            "node": self._varied.node,
            "at": self._explained.at,
        }
        return Schema.of(
            {"picture": list(map(str, rows)), **parts, **picture_lengths(picture.shape)},
            array("parts", f"step picture {' '.join(parts)}", "rating of every part of a sample",
                  "float32"),
            array("score", "step picture", "the output that is explained"),
            *([incomplete] if self.method == WITH_BASELINE else []),
            final("similarity", "step", "mean cosine to the ratings of the last step"),
            final("images", f"step picture {PICTURE}", "the ratings as pictures: 128 is 0",
                  "uint8"),
            scale_field(), attributes=attributes, rows=self._rows,
        )  # fmt: skip

    def _pictures(self, parts: Array) -> Array:
        """Return ratings as (samples, height, width): those of tokens and features in a row."""
        is_sequence = self._varied.axes is not None or not fills_square(parts.shape[1:])
        return in_rows(parts) if parts.ndim == 2 and is_sequence else pictures_of(parts)

    def begin(self, step: Step) -> None:
        """Keep the network of the step."""
        self._varied.network = step.bound
        self._parts: list[Array] = []
        self._scores: list[Array] = []
        self._missing = 0.0

    def measure(self, batch: Batch) -> None:
        """Rate the parts of the samples of a batch."""
        varied, x = self._varied, next(iter(batch.inputs.values()))
        scores, values = self._explained.scores(batch.outputs[OUTPUT]), self._varied.values(batch)
        units = self._units(batch, scores)
        self._scores.append(scores[np.arange(len(scores)), units].astype(np.float64))
        self._baseline = np.full_like(values, self.baseline)
        if self.token is not None:
            self._baseline = varied.likewise(np.full_like(x, self.token))

        def gradient_of(varied_values: Array) -> Array:
            def of(rows: Array, number: int) -> Array:
                unit = self._explained.unit(number)
                return varied.gradient(varied_values[rows], x[rows], unit)

            return by_unit(np.arange(len(x)), units, of)

        ratings = _RATED[self.method](self, values, batch.rows, gradient_of)
        if self.method == WITH_BASELINE:
            self._check_sums(x, units, scores, ratings)
        self._parts.append(varied.summed(ratings).astype(np.float32))

    def _units(self, batch: Batch, scores: Array) -> Array:
        """Return the output that is explained of every sample."""
        if self.unit is not None:
            return np.full(len(scores), self.unit, np.int64)
        if self._labels is not None:
            found = self._labels[np.searchsorted(self._rows, batch.rows)]
            if found.min(initial=0) >= 0 and found.max(initial=0) < self._explained.numbers:
                return np.asarray(found, np.int64)
        return np.asarray(scores.argmax(axis=1), np.int64)

    def _noisy(self, x: Array, rows: Array, gradient: Gradient) -> Array:
        """Return the mean gradient over noisy copies; the noise of a sample is always the same."""
        flat = x.reshape(len(x), -1)
        spread = self.noise * (flat.max(axis=1) - flat.min(axis=1))
        spread = spread.astype(np.float32).reshape(-1, *(1,) * (x.ndim - 1))
        total = np.zeros(x.shape, np.float64)
        for point in range(self.points):
            drawn = [np.random.default_rng([self._seed, int(row), point]) for row in rows]
            noise = np.stack([one.standard_normal(x.shape[1:], np.float32) for one in drawn])
            total += gradient(x + spread * noise)
        return total / self.points

    def _integrated(self, x: Array, rows: Array, gradient: Gradient) -> Array:
        """Return the mean gradient at the middles of equal parts of the line, times its length."""
        base = self._baseline
        total = np.zeros(x.shape, np.float64)
        for point in range(self.points):
            share = np.float32((point + 0.5) / self.points)
            total += gradient(base + share * (x - base))
        return (x - base) * total / self.points

    def _check_sums(self, x: Array, units: Array, scores: Array, ratings: Array) -> None:
        """Note the largest share of a change of the output that the parts do not add up to."""
        at = np.arange(len(x))
        base = self._explained.scores(self._varied.outputs(self._baseline, x))[at, units]
        change = scores[at, units].astype(np.float64) - base
        apart = np.abs(ratings.reshape(len(ratings), -1).sum(axis=1) - change)
        shares = apart / np.maximum(np.abs(change), 1e-12)
        self._missing = max(self._missing, float(shares.max()))

    def end(self) -> Mapping[str, Array]:
        """Return the ratings of the step."""
        found = {"parts": np.concatenate(self._parts), "score": np.concatenate(self._scores)}
        if self.method == WITH_BASELINE:
            found["incomplete"] = np.array(self._missing)
        return found

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return the ratings as pictures on one scale, and how they became those of the end."""
        pictures = pictured(results, "parts", lambda parts: self._pictures(parts)[..., None])
        alike = likeness_to_last(stacked(results, "parts"))
        return {**pictures, "similarity": np.array([np.nanmean(own) for own in alike])}

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return what is shown of how many samples, and how well parts add up."""
        method, count = result.attributes["method"], len(result.labels("picture"))
        scale = result.array("scale")[-1, 1]
        node, at = result.attributes.get("node"), result.attributes.get("at")
        where = f" at {node}" if node else ""
        of = f", of position {at}" if at is not None else ""
        lines = [
            f"{method} of {count} samples{where}{of}; black to white is -{scale:.3g} to {scale:.3g}"
        ]
        if method == WITH_BASELINE:
            apart = result.array("incomplete")
            line = f"parts add up to the change of the output within {apart[-1]:.1%} at the end"
            far = int(apart.argmax())
            if apart[far] > max(MUCH_APART, apart[-1]):
                line += (
                    f", within {apart[far]:.0%} at step {result.steps[far]}: "
                    "much where an output hardly changes"
                )
            lines.append(line)
        return lines


_RATED: Mapping[str, Callable[[Attribution, Array, Array, Gradient], Array]] = {
    "gradient": lambda probe, x, rows, gradient: gradient(x),
    "gradient_x_input": lambda probe, x, rows, gradient: gradient(x) * x,
    "smoothgrad": Attribution._noisy,
    "integrated": Attribution._integrated,
}
