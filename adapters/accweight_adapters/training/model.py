"""Load an ONNX model for training, with each parameter as a tensor of its own.

The reader of ONNX files already tells weights from constants, and separates tensors that were
stored once because they were equal before training. Training uses its result: every parameter in
the reader's list becomes a separate initializer, so that equal layers can diverge, and the
checkpoints have the parameters that an analysis of the model has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from onnx import ModelProto

from accweight_adapters.onnx.description import described
from accweight_adapters.onnx.extents import type_name
from accweight_adapters.onnx.graph import STANDARD_DOMAINS
from accweight_adapters.onnx.layers import Part
from accweight_adapters.onnx.separated import checked, loaded, separated
from accweight_adapters.training.config import TrainSelection
from accweight_core.errors import FormatError, UnknownNameError
from accweight_core.schema import Role

QUANTISED: Final = (
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinear",
    "ConvInteger",
    "MatMulInteger",
    "QGemm",
    "MatMulNBits",
)
CONTROL_FLOW: Final = frozenset({"If", "Loop", "Scan", "SequenceMap"})
LARGEST_BYTES: Final = 1_900_000_000
"""Limit of a protobuf message, which the training graph must fit in."""

TRAINED_ROLES: Final = (Role.WEIGHT, Role.BIAS, Role.NORM, Role.EMBEDDING)


@dataclass(slots=True)
class TrainableModel:
    """A model with one initializer per parameter, under the reader's names.

    Attributes:
        path: The file.
        proto: The model.
        roles: Role of every parameter by name, in network order.
        notes: Changes made, for the user.
    """

    path: Path
    proto: ModelProto
    roles: dict[str, Role]
    notes: list[str] = field(default_factory=list)


def load_model(path: Path) -> TrainableModel:
    """Return the model at `path`, with separate parameters.

    Raises:
        FormatError: If it is damaged, or cannot be trained; says why.
    """
    checked(path)
    _check_size(path)
    proto = loaded(path)
    _check_operators(proto, path)
    model = _with_own_parameters(proto, path)
    _check_types(model)
    return model


def choose(model: TrainableModel, train: Sequence[str], freeze: Sequence[str]) -> TrainSelection:
    """Return the parameters to train: those that match `train`, if given, and not `freeze`.

    Raises:
        UnknownNameError: If a pattern matches no parameter.
        FormatError: If nothing is left to train.
    """
    able = [name for name, role in model.roles.items() if role in TRAINED_ROLES]
    for pattern in (*train, *freeze):
        if not any(fnmatchcase(name, pattern) for name in model.roles):
            known = ", ".join(list(model.roles)[:6]) + (", ..." if len(model.roles) > 6 else "")
            raise UnknownNameError(f"no parameter matches {pattern!r}; parameters are {known}")
    wanted = [name for name in able if not train or _fits(name, train)]
    trained = tuple(name for name in wanted if not _fits(name, freeze))
    if not trained:
        has = f"its {len(able)} parameters are all frozen" if able else "it holds no weights"
        raise FormatError(model.path, f"there is nothing to train: {has}")
    return TrainSelection(trained, tuple(name for name in model.roles if name not in set(trained)))


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check_size(path: Path) -> None:
    files = {str(path), *described(path).files}
    size_bytes = sum(Path(file).stat().st_size for file in files)
    if size_bytes > LARGEST_BYTES:
        raise FormatError(
            path, f"has {size_bytes / 1e9:.1f} GB; models can be trained here up to 1.9 GB"
        )


def _check_operators(proto: ModelProto, path: Path) -> None:
    """Raise for operators that can never be trained."""
    for node in proto.graph.node:
        what = f"operator {node.op_type}" + (f" ({node.name!r})" if node.name else "")
        if node.op_type.startswith(QUANTISED):
            raise FormatError(
                path,
                f"is quantised ({what}): codes have no gradient; train the float model that it "
                "was made from, and quantise it afterwards",
            )
        if node.domain not in STANDARD_DOMAINS:
            raise FormatError(
                path,
                f"uses {what} of the domain {node.domain!r}; only operators of the ONNX standard "
                "can be trained: export the model without optimisation for a runtime",
            )
        if node.op_type in CONTROL_FLOW:
            raise FormatError(
                path,
                f"branches ({what}), and onnxruntime-training has no gradient for that; export "
                "the model with fixed control flow",
            )


def _check_types(model: TrainableModel) -> None:
    types = {t.name: type_name(t) for t in model.proto.graph.initializer}
    for name in model.roles:
        if types[name] != "float32" and model.roles[name] in TRAINED_ROLES:
            raise FormatError(
                model.path,
                f"parameter {name!r} is {types[name]}; training works in float32: "
                "export the model in float32",
            )


# ---------------------------------------------------------------- parameters of their own


def _with_own_parameters(proto: ModelProto, path: Path) -> TrainableModel:
    """Make every parameter an initializer under its own name, and record the changes."""
    apart = separated(proto, path)
    roles = {part.constant.name: part.role for part in apart.parts}
    return TrainableModel(path, proto, roles, _notes_on(apart.parts, apart.before))


def _notes_on(parts: Sequence[Part], before: set[str]) -> list[str]:
    notes = []
    constants = [part.constant for part in parts]
    apart = [c.name for c in constants if c.name not in before and not c.from_node]
    if apart:
        notes.append(
            f"{len(apart)} parameters ({apart[0]!r} ...) were stored together with equal ones; "
            "each is trained separately"
        )
    tied = [part for part in parts if part.elsewhere]
    if tied:
        notes.append(
            f"{len(tied)} tensors serve several layers ({tied[0].constant.name!r} also "
            f"{tied[0].elsewhere!r}) and are trained as one"
        )
    return notes
