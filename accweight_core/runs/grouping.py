"""Group checkpoints by the names and shapes of their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from accweight_core.errors import MismatchError, ShapeMismatchError
from accweight_core.naming import layers_of, module_of
from accweight_core.schema import Checkpoint, Layer, Role

Signature = frozenset[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Group:
    """Checkpoints with the same parameters.

    Attributes:
        number: Number of the group, from 1; the largest group is first.
        checkpoints: The checkpoints, in step order.
        layers: The layers of the first checkpoint.
    """

    number: int
    checkpoints: tuple[Checkpoint, ...]
    layers: tuple[Layer, ...]

    @cached_property
    def signature(self) -> Signature:
        """Names and shapes that all checkpoints share; see `signature_of`."""
        return signature_of(self.layers)

    @property
    def summary(self) -> str:
        """One phrase with the number of checkpoints, the steps and the files."""
        first, last = self.checkpoints[0], self.checkpoints[-1]
        count, held = len(self.checkpoints), len(self.signature)
        span = f"step {first.step}" if count == 1 else f"steps {first.step} to {last.step}"
        files = first.path if count == 1 else f"{first.path} ... {last.path}"
        return (
            f"{count} checkpoint{'s' * (count > 1)}, {span}, "
            f"{held} parameter{'s' * (held != 1)} ({files})"
        )


def groups_of(checkpoints: Sequence[Checkpoint]) -> tuple[Group, ...]:
    """Group checkpoints with the same names and shapes, largest group first."""
    members: dict[Signature, list[Checkpoint]] = {}
    layers: dict[Signature, tuple[Layer, ...]] = {}
    known: Checkpoint | None = None
    signature: Signature = frozenset()
    for checkpoint in checkpoints:
        # finding the layers of thousands of tensors takes longer than comparing descriptions
        if known is None or not _is_described_alike(known, checkpoint):
            found = layers_of(checkpoint.tensors.values())
            signature, known = signature_of(found), checkpoint
            layers.setdefault(signature, found)
        members.setdefault(signature, []).append(checkpoint)
    ordered = sorted(members.items(), key=lambda item: (-len(item[1]), item[1][0].step))
    return tuple(
        Group(number, tuple(group), layers[signature])
        for number, (signature, group) in enumerate(ordered, start=1)
    )


def _is_described_alike(first: Checkpoint, second: Checkpoint) -> bool:
    """Tell whether two checkpoints list the same names, shapes, dtypes and hints."""
    pairs = zip(first.tensors.values(), second.tensors.values(), strict=False)
    return len(first.tensors) == len(second.tensors) and all(
        (a.name, a.values.shape, a.values.dtype, a.hints)
        == (b.name, b.values.shape, b.values.dtype, b.hints)
        for a, b in pairs
    )


def signature_of(layers: Sequence[Layer]) -> Signature:
    """Return the names and shapes of the parameters of layers.

    Buffers are left out, and optimizer state, which does not exist before the first step.
    """
    return frozenset(
        (parameter.name, parameter.shape)
        for layer in layers
        for parameter in layer.parameters
        if parameter.role not in (Role.BUFFER, Role.OPTIMIZER)
    )


def chosen_group(groups: Sequence[Group], choice: int | str | None, source: str) -> Group:
    """Return the group to analyse.

    Raises:
        MismatchError: If there are several and none was chosen, or the chosen one does not exist.
    """
    if choice is None:
        if len(groups) > 1:
            raise _mismatch(groups, source)
        return groups[0]
    if choice == "largest":
        return groups[0]
    for group in groups:
        if str(group.number) == str(choice):
            return group
    raise MismatchError(
        f"{source}: there is no group {choice}; groups: "
        + "; ".join(f"{group.number}: {group.summary}" for group in groups)
    )


def _mismatch(groups: Sequence[Group], source: str) -> MismatchError:
    """Return the error for checkpoints of several groups."""
    first, second = groups[0], groups[1]
    shapes, others = dict(first.signature), dict(second.signature)
    reshaped = sorted(
        name for name in shapes.keys() & others.keys() if shapes[name] != others[name]
    )
    if len(groups) == 2 and reshaped and shapes.keys() == others.keys():
        name = reshaped[0]
        where = [(g.checkpoints[0].step, g.checkpoints[0].path) for g in (first, second)]
        return ShapeMismatchError(
            name,
            shapes[name],
            others[name],
            where=f"step {where[1][0]} in {where[1][1]}, step {where[0][0]} in {where[0][1]}"
            + (f"; {len(reshaped) - 1} more differ" if len(reshaped) > 1 else ""),
            remedy=f"a run has one shape per parameter: leave out with {_skips(reshaped)}, "
            "or take one group of checkpoints with --group 1, --group 2 or --group largest",
        )
    listed = "; ".join(f"group {group.number}: {group.summary}" for group in groups[:4])
    more = f"; and {len(groups) - 4} more groups" if len(groups) > 4 else ""
    return MismatchError(
        f"{source}: the checkpoints hold {len(groups)} different sets of parameters, so they are "
        f"not one run: {listed}{more}; {_difference(first, second)}; analyse one group with "
        "--group 1 (or --group largest), leave parameters out with --skip PATTERN, or say which "
        "are the same with --map FILE (accweight inspect SOURCE --write-map FILE proposes one)"
    )


def _skips(names: Sequence[str]) -> str:
    """Return --skip options for these parameters, by module if there are several."""
    modules = dict.fromkeys(module_of(name) for name in names)
    patterns = names if len(names) == 1 else [f"{module}.*" for module in modules]
    shown = " ".join(f"--skip '{pattern}'" for pattern in patterns[:3])
    return shown + (f" and {len(patterns) - 3} more" if len(patterns) > 3 else "")


def _difference(first: Group, second: Group) -> str:
    """Return an example of a difference between two groups."""
    only_first = sorted(first.signature - second.signature)
    only_second = sorted(second.signature - first.signature)
    parts = []
    for group, only in ((first, only_first), (second, only_second)):
        if only:
            name, shape = only[0]
            parts.append(f"only group {group.number} has {name} {shape}")
    return ", ".join(parts)
