"""The probe `attribution`: which parts of an input an output depends on, at every step.

Four methods, all on the gradient of one output with respect to the input, are those of
`accweight_core.probes.gradient_ratings`.

Inputs that are whole numbers, such as tokens, have no gradient: there it is taken at the node of
their embedding. A token has the sum over its vector where a method shares the output out, else the
length of that vector. The baseline of `integrated` is then a vector of equal elements, or that of a
token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.probes.collecting import Columns
from accweight_core.probes.context import Context
from accweight_core.probes.gradient_ratings import (
    Method,
    Rating,
    largest_share,
    missing_shares,
)
from accweight_core.probes.likeness import likeness_to_last
from accweight_core.probes.network import OUTPUT
from accweight_core.probes.pixels import (
    drawn_lengths,
    in_rows,
    picture_fields,
    pictured,
    pictures_of,
    sample_lengths,
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
from accweight_core.probes.varied import Explained, Varied, token_names
from accweight_core.samples.pictures import fills_square

MUCH_APART = 0.1
"""Share of the change of the output from which on it is said at which step parts miss it."""


@dataclass
class Attribution(Probe):
    """Which parts of an input an output depends on, by gradients."""

    name, version, needs = "attribution", 5, Needs.FORWARD | Needs.INPUT_GRADIENT
    reading = (
        "Parts above 0 speak for the output, parts below 0 against it. gradient and smoothgrad say "
        "what small changes of the input would do, and of a token how much they can do; "
        "gradient_x_input and integrated share the output out among its parts, integrated its "
        "change from the baseline."
    )

    method: Method = option("gradient", "how parts are rated")
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
        self._varied = Varied.of(context, self.node, self.token)
        self._explained = Explained.of(context, context.tried()[OUTPUT], self.at, self.unit)
        self._rating = Rating(self.method, self.points, self.noise, context.seed)
        self._found = context.collect(Columns(self._rated))
        self._tokens = token_names(context, self._rows)
        return self._schema(self._varied.shape)

    def _schema(self, shape: tuple[int, ...]) -> Schema:
        rows = self._rows.tolist()
        parts, drawn = sample_lengths(shape), drawn_lengths(self._pictures, shape)
        incomplete = array(
            "incomplete", "step",
            "largest share of a change of the output that the parts do not add up to",
        )  # fmt: skip
        attributes = {
            "rows": rows, "method": self.method, "node": self._varied.node,
            "at": self._explained.at, "tokens": self._tokens,
        }  # fmt: skip
        return Schema.of(
            {"picture": list(map(str, rows)), **parts, **drawn},
            array("parts", f"step picture {' '.join(parts)}", "rating of every part of a sample",
                  "float32"),
            array("score", "step picture", "the output that is explained"),
            *([incomplete] if self._rating.adds_up else []),
            final("similarity", "step", "mean cosine to the ratings of the last step"),
            *picture_fields("picture", "the ratings as pictures"),
            attributes=attributes, rows=self._rows,
        )  # fmt: skip

    def _pictures(self, parts: Array) -> Array:
        """Return ratings as (samples, height, width, 1): those of tokens and features in a row."""
        is_sequence = self._varied.axes is not None or not fills_square(parts.shape[1:])
        flat = in_rows(parts) if parts.ndim == 2 and is_sequence else pictures_of(parts)
        return flat[..., None]

    def begin(self, step: Step) -> None:
        """Keep the network of the step."""
        self._varied.network = step.bound

    def _rated(self, batch: Batch) -> Mapping[str, Array]:
        """Return the ratings of the parts of the samples of a batch."""
        varied, explained = self._varied, self._explained
        values, x = varied.values(batch), next(iter(batch.inputs.values()))
        numbers, score = explained.chosen(batch.outputs[OUTPUT], batch.targets)
        base = varied.baseline(values, x, self.baseline, self.token)
        gradient = varied.gradients(x, explained, numbers)
        ratings = self._rating.of(values, gradient, batch.rows, base)
        parts = varied.of_parts(ratings, are_shares=self._rating.are_shares)
        found = {"parts": parts.astype(np.float32), "score": score}
        if self._rating.adds_up:
            change = score - explained.values(varied.outputs(base, x), numbers)
            found["incomplete"] = missing_shares(ratings, change)
        return found

    def end(self) -> Mapping[str, Array]:
        """Return the ratings of the step."""
        found = self._found.whole()
        if self._rating.adds_up:
            found["incomplete"] = largest_share(found["incomplete"])
        return found

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return the ratings as pictures on one scale, and how they became those of the end."""
        pictures = pictured(results, "parts", self._pictures)
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
            f"{method} of {count} samples{where}{of}; the scale is -{scale:.3g} to {scale:.3g}"
        ]
        if "incomplete" in result.arrays:
            apart = result.array("incomplete")
            known = np.nan_to_num(apart, nan=-1.0)
            far = int(known.argmax())
            line = f"parts add up to the change of the output within {apart[-1]:.1%} at the end"
            if np.isnan(apart[-1]):
                line = "whether parts add up is not known at the end: outputs are not finite"
            if apart[far] > max(MUCH_APART, known[-1]):
                line += (
                    f", within {apart[far]:.0%} at step {result.steps[far]}: "
                    "much where an output hardly changes"
                )
            lines.append(line)
        return lines
