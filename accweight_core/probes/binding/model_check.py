r"""The table of a binding: each tensor of a network, from where, how, how sure, and the proof.

For ``accweight probe RUN --model net.onnx --check-model``:

    check = check_model(run, network, samples, constants=patterns, unused=patterns)
    print("\n".join(check.lines()))        # or json.dumps(check.to_json())

`check.ok` is whether the verdict is not "not verified"; the options that a command needs are in
`accweight_core.cli.model_checks`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from accweight_core.probes.binding.arrays import Array
from accweight_core.probes.binding.assignment import Assignment
from accweight_core.probes.binding.binding import Binding
from accweight_core.probes.binding.samples import Samples
from accweight_core.probes.network import Inputs, Network
from accweight_core.runs.name_map import NameMap
from accweight_core.schema import Run
from accweight_core.text import some

COLUMNS = ("tensor", "shape", "from", "how", "sure", "evidence")


@dataclass(frozen=True)
class ModelCheck:
    """How a network is bound to a run, for people and for scripts.

    Attributes:
        binding: The binding.
    """

    binding: Binding

    @property
    def ok(self) -> bool:
        """Whether something is proven."""
        return self.binding.proof.verdict != "not verified"

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table, a row of text per tensor, in network order; see `COLUMNS`."""
        return [_row(item) for item in self.binding.assignments]

    def summary(self) -> list[str]:
        """Return the proof in lines."""
        proof = self.binding.proof
        lines = [f"{proof.verdict}: {proof.reason}"]
        if proof.difference is not None and proof.scale is not None:
            lines.append(
                f"forward passes at step {proof.step}: largest difference {proof.difference:.3g}, "
                f"largest output {proof.scale:.3g}"
            )
        if proof.reproduced is not None:
            lines.append(f"recorded: {proof.reproduced}")
        lines += [f"doubt: {doubt}" for doubt in proof.doubts if doubt not in proof.reason]
        return lines

    def lines(self) -> list[str]:
        """Return the table and the proof as text."""
        rows = [COLUMNS, *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return [*table, "", *self.summary()]

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``--check-model --json`` prints."""
        return {
            "proof": self.binding.proof.to_json(),
            "tensors": [
                {
                    "name": item.name,
                    "shape": list(item.shape),
                    "origin": str(item.origin),
                    "from": list(item.sources),
                    "how": item.words,
                    "sure": round(item.sure, 2),
                    "evidence": item.evidence,
                    "equal": item.is_equal,
                    "doubts": list(item.doubts),
                }
                for item in self.binding.assignments
            ],
        }


def check_model(
    run: Run,
    network: Network,
    data: Inputs | Samples | None = None,
    *,
    targets: Array | None = None,
    constants: Iterable[str] = (),
    unused: Iterable[str] = (),
    map: NameMap | str | os.PathLike[str] | None = None,
) -> ModelCheck:
    """Return how a network is bound to a run; the arguments are those of `Binding.of`.

    Raises:
        BindingError: If weights do not fit, or would be put in wrongly.
    """
    return ModelCheck(
        Binding.of(
            network,
            run,
            data=data,
            targets=targets,
            constants=constants,
            unused=unused,
            map=map,
        )
    )


def _row(item: Assignment) -> tuple[str, ...]:
    shape = "x".join(map(str, item.shape)) or "()"
    sure = "?" if item.doubts else f"{item.sure:.0%}"
    evidence = item.doubts[0] if item.doubts else item.evidence
    return item.name, shape, some(item.sources, 2), item.words, sure, evidence
