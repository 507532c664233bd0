"""Checkpoints of Lightning: a real run, settings of any class beside the weights, prefixes."""

from __future__ import annotations

import argparse
import enum
import functools
import importlib.util
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import tracemalloc
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import small
from generated import write_generated
from test_torch_reader import FORMATS, Mischief, saved, zipped
from torch import nn

import accweight_core as aw
from accweight_adapters.pickles.code_names import runs_code
from accweight_adapters.torch.reader import TorchReader
from accweight_core.errors import FormatError
from accweight_core.runs.opening import survey
from accweight_core.schema import Description, Kind
from accweight_core.testing import values_of

READER = TorchReader()
NEEDS_LIGHTNING = pytest.mark.skipif(
    importlib.util.find_spec("pytorch_lightning") is None, reason="needs pytorch-lightning"
)
STATE = {"fc.weight": torch.ones(2, 3), "fc.bias": torch.ones(2)}


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what Lightning itself wrote."""
    folder = tmp_path_factory.mktemp("lightning")
    write_generated("lightning_run", folder)
    return folder


def checkpoint(state: dict[str, Any] | None = None, **beside: Any) -> dict[str, Any]:
    """Return what a Trainer of Lightning saves."""
    state = {f"model.{name}": value for name, value in STATE.items()} if state is None else state
    return {
        "epoch": 3,
        "global_step": 40,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        **beside,
    }


def described(path: Path, content: object, **options: Any) -> Description:
    return READER.describe(saved(path, content, **options))


def names(description: Description) -> list[str]:
    return [tensor.name for tensor in description.tensors]


def problem_of(path: Path) -> str:
    with pytest.raises(FormatError) as caught:
        READER.describe(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- a real run


@NEEDS_LIGHTNING
def test_a_real_run_opens_by_its_folder(written: Path) -> None:
    opened = survey(written / "run")

    assert [(c.step, c.step_source) for c in opened.checkpoints] == [
        (step, "in file: global_step") for step in (4, 8, 12)
    ]
    assert "last.ckpt left out: same weights as epoch=2-step=12.ckpt" in opened.notes


@NEEDS_LIGHTNING
def test_the_files_of_a_real_run_hold_what_torch_refuses(written: Path) -> None:
    with pytest.raises(pickle.UnpicklingError, match="Settings"):
        torch.load(written / "run" / "last.ckpt", weights_only=True)


@NEEDS_LIGHTNING
def test_a_real_run_names_its_layers_as_the_bare_network_does(written: Path) -> None:
    bare = torch.load(written / "bare" / "epoch_2.pt", weights_only=True)

    run = aw.open_run(written / "run")

    tensors = run.checkpoints[-1].tensors
    assert list(tensors) == list(bare)
    for name, tensor in tensors.items():
        if tensor.dtype == "float32":
            np.testing.assert_array_equal(values_of(tensor), bare[name].numpy())
    assert [(layer.name, layer.kind) for layer in run.layers] == [
        ("0", Kind.CONV),
        ("1", Kind.NORM),
        ("4", Kind.LINEAR),
    ]


@NEEDS_LIGHTNING
def test_a_real_run_says_how_well_it_went(written: Path) -> None:
    measures = [c.measures for c in survey(written / "run").checkpoints]

    assert [set(m) for m in measures] == [{"val_loss", "best_model_score", "learning_rate"}] * 3
    losses = [m["val_loss"] for m in measures]
    assert len(set(losses)) == 3
    assert [m["best_model_score"] for m in measures] == [
        min(losses[: n + 1]) for n in range(len(losses))
    ]


@NEEDS_LIGHTNING
def test_a_second_version_of_a_file_is_a_copy_if_it_is_equal(written: Path, tmp_path: Path) -> None:
    run = shutil.copytree(written / "run", tmp_path / "run")
    shutil.copy(run / "epoch=1-step=8.ckpt", run / "epoch=1-step=8-v1.ckpt")

    opened = survey(run)

    assert [c.step for c in opened.checkpoints] == [4, 8, 12]
    assert len([note for note in opened.notes if "same weights as" in note]) == 2


@NEEDS_LIGHTNING
def test_a_real_run_is_found_where_the_logger_puts_it(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written / "run", tmp_path / "lightning_logs" / "version_0" / "checkpoints")

    assert [c.step for c in survey(tmp_path).checkpoints] == [4, 8, 12]


# ---------------------------------------------------------------- settings of any class


@dataclass
class Plain:
    """Settings as a dataclass, one of which holds itself."""

    rate: float = 0.1
    sizes: list[int] = field(default_factory=lambda: [1, 2])
    me: Any = None


class Colour(enum.Enum):
    """A choice."""

    RED = 1


class Slotted:
    """An object whose state is a tuple."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value


class Named(dict):  # type: ignore[type-arg]
    """A mapping with a class and attributes of its own."""

    def __init__(self, **entries: Any) -> None:
        super().__init__(entries)
        self.note = "x"


class Keyworded:
    """An object that is made with keywords only."""

    def __new__(cls, *, value: int) -> Keyworded:
        """Make one."""
        return super().__new__(cls)

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int]]:
        """Say how to make one again."""
        return (), {"value": 3}


class Outer:
    """Holds a class."""

    class Inner:
        """Pickled by a call of `getattr` in old protocols."""

    def method(self) -> None:
        """Pickled by a call of `getattr` as well."""


def recursive() -> Plain:
    plain = Plain()
    plain.me = plain
    return plain


SETTINGS = {
    "namespace": argparse.Namespace(rate=0.1, more=argparse.Namespace(a=1)),
    "dataclass": Plain(),
    "recursive": recursive(),
    "enum": Colour.RED,
    "slots": Slotted(3),
    "dict": Named(a=1, b=[2]),
    "keywords": Keyworded(value=3),
    "inner": [Outer.Inner, Outer.Inner(), Outer().method],
    "partial": functools.partial(torch.optim.AdamW, lr=0.1),
    "function": nn.functional.relu,
    "class": nn.Linear,
    "module": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)),
    "path": pathlib.Path("data"),
    "uuid": uuid.UUID(int=3),
    "sets": [{1, 2}, frozenset({3}), set()],
    "default": defaultdict(list, a=[1]),
    "array": np.arange(3),
    "exception": ValueError("x"),
    "tensor": torch.ones(3),
    "generator": np.random.default_rng(0),
}


@FORMATS
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_of_any_class_do_not_hide_the_weights(
    tmp_path: Path, kind: str, protocol: int, is_zip: bool
) -> None:
    content = checkpoint(hyper_parameters={kind: SETTINGS[kind]}, after=3)

    description = described(tmp_path / "a.ckpt", content, is_zip=is_zip, pickle_protocol=protocol)

    assert names(description) == ["fc.weight", "fc.bias"]
    assert (description.step, description.step_key) == (40, "global_step")
    np.testing.assert_array_equal(values_of(description.tensors[0]), np.ones((2, 3)))


def test_settings_before_the_weights_do_not_hide_them(tmp_path: Path) -> None:
    content = {"hyper_parameters": SETTINGS["namespace"], **checkpoint()}

    assert names(described(tmp_path / "a.ckpt", content)) == ["fc.weight", "fc.bias"]


@FORMATS
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_beside_the_weights_of_any_script_do_not_hide_them(
    tmp_path: Path, kind: str, protocol: int, is_zip: bool
) -> None:
    content = {"before": SETTINGS[kind], "model": STATE, "args": SETTINGS[kind], "epoch": 3}

    description = described(tmp_path / "a.pt", content, is_zip=is_zip, pickle_protocol=protocol)

    own = [name for name in names(description) if "before" not in name and "args" not in name]
    assert [name.removeprefix("model.") for name in own] == ["fc.weight", "fc.bias"]
    assert description.step == 3


def test_weights_in_a_mapping_of_any_class_are_weights(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.ckpt", checkpoint(state=Named(**STATE)))  # type: ignore[arg-type]

    assert names(READER.describe(path)) == list(STATE)


class Reduced:
    """Pickled as whatever call it is given."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to make one."""
        return self.call


@FORMATS
@pytest.mark.parametrize("place", ["hyper_parameters", "callbacks", "state_dict", "top", "deep"])
def test_code_beside_the_weights_is_refused_and_nothing_is_run(
    tmp_path: Path, place: str, is_zip: bool
) -> None:
    marker = tmp_path / "marker"
    evil = Mischief(marker)
    content = {
        "hyper_parameters": checkpoint(hyper_parameters={"a": evil}),
        "callbacks": checkpoint(callbacks={"EarlyStopping": evil}),
        "state_dict": checkpoint(state={"w": torch.ones(1), "x": evil}),
        "top": checkpoint(x=evil),
        "deep": checkpoint(hyper_parameters=argparse.Namespace(a=Plain(me=[{"b": (evil,)}]))),
    }[place]

    text = problem_of(saved(tmp_path / "a.ckpt", content, is_zip=is_zip))

    assert "system'" in text
    assert not marker.exists()


@pytest.mark.parametrize(
    "function",
    [eval, exec, compile, open, __import__, os.popen, os.execv, subprocess.Popen, subprocess.run,
     importlib.import_module, pickle.loads, shutil.rmtree, setattr, sys.exit],
    ids=lambda function: function.__name__,
)  # fmt: skip
def test_functions_that_only_an_attack_names_are_refused(tmp_path: Path, function: Any) -> None:
    content = checkpoint(hyper_parameters={"a": Reduced(function, "x")})

    assert "only plain weights are read" in problem_of(saved(tmp_path / "a.ckpt", content))


@pytest.mark.parametrize(
    "name",
    ["torch.serialization.os.system", "torch.hub.os.execv", "builtins.eval", "builtins.exec",
     "a.__import__", "posix.system", "nt.system", "os", "os.path", "ctypes.CDLL", "_ctypes.dlopen",
     "runpy._run_code", "a.b.subprocess", "marshal.loads\n.x"],
)  # fmt: skip
def test_names_of_code_are_told_in_any_disguise(name: str) -> None:
    assert runs_code(name)


@pytest.mark.parametrize(
    "name",
    ["builtins.getattr", "builtins.set", "project.code.Config", "position.Model", "mypkg.osmosis.X",
     "torch.nn.functional.relu", "functools.partial", "pathlib.PosixPath", "my.evaluation.Metric",
     "builtins.frozenset", "systems.Model", "openai.Client", "compiler.Net",
     "utils.eval.AverageMeter", "my.system.Config"],
)  # fmt: skip
def test_names_of_settings_are_no_code(name: str) -> None:
    assert not runs_code(name)


@pytest.mark.parametrize(
    "call",
    [
        b"cos\nsystem\n(X\x04\0\0\0truetR",
        b"c__builtin__\neval\n(X\x01\0\0\x001tR",
        b"c__builtin__\ngetattr\n(c__builtin__\neval\nX\x08\0\0\0__call__tR(X\x01\0\0\x001tR",
        b"ctorch.serialization\nos.system\n(X\x04\0\0\0truetR",
        b"ccollections\nOrderedDict\n(]((X\x01\0\0\0acposix\nsystem\ntetR",
    ],
    ids=["plain", "eval", "getattr", "dotted", "in a dict"],
)
def test_tricks_with_calls_are_refused(tmp_path: Path, call: bytes) -> None:
    head = b"\x80\x02}(X\x19\0\0\0pytorch-lightning_versionX\x01\0\0\x002"
    rest = b"X\x0a\0\0\0state_dict}X\x01\0\0\0a" + call + b"u."
    path = zipped(tmp_path / "a.ckpt", head + rest, {})

    assert "only plain weights are read" in problem_of(path)


def test_objects_make_no_large_allocation(tmp_path: Path) -> None:
    head = b"\x80\x02}(X\x19\0\0\0pytorch-lightning_versionX\x01\0\0\x002X\x01\0\0\0a"
    vast = b"cmy\nArray\n(L1000000000000L\ntRcbuiltins\nbytearray\n(L1000000000000L\ntR"
    path = zipped(tmp_path / "a.ckpt", head + vast + b"X\x01\0\0\0bNu.", {})
    tracemalloc.start()

    try:
        problem_of(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 3_000_000


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("holder", ["model", "net", "network", "module", "_model", "_net"])
def test_the_attribute_that_holds_the_network_is_no_part_of_names(
    tmp_path: Path, holder: str
) -> None:
    state = {f"{holder}.{name}": value for name, value in STATE.items()}

    assert names(described(tmp_path / "a.ckpt", checkpoint(state))) == list(STATE)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (["model.a.w", "criterion.weight"], ["model.a.w", "criterion.weight"]),
        (["model.a.w", "net.a.w"], ["model.a.w", "net.a.w"]),
        (["encoder.a.w", "encoder.b.w"], ["encoder.a.w", "encoder.b.w"]),
        (["model", "model.w"], ["model", "model.w"]),
        (["model.model.w", "model.head.w"], ["model.w", "head.w"]),
        (["model.model.w", "model.model.b"], ["model.w", "model.b"]),
        (["model._orig_mod.w", "model._orig_mod.b"], ["w", "b"]),
        (["module.model.w", "module.model.b"], ["w", "b"]),
        (["models.w"], ["models.w"]),
        (["a.w"], ["a.w"]),
    ],
)
def test_names_lose_one_prefix_and_only_where_all_have_it(
    tmp_path: Path, state: list[str], expected: list[str]
) -> None:
    content = checkpoint({name: torch.ones(1) for name in state})

    assert names(described(tmp_path / "a.ckpt", content)) == expected


def test_names_of_files_that_lightning_did_not_write_keep_theirs(tmp_path: Path) -> None:
    state = {"model.layers.0.weight": torch.ones(1), "model.norm.weight": torch.ones(1)}

    assert names(described(tmp_path / "a.pt", {"state_dict": state})) == list(state)


def test_only_the_state_dict_holds_the_model(tmp_path: Path) -> None:
    moments = {"state": {0: {"exp_avg": torch.ones(2, 3)}}, "param_groups": [{"lr": 0.1}]}
    content = checkpoint(
        optimizer_states=[moments],
        DigitsDataModule={"mean": {"weight": torch.ones(2)}},
        current_model_state={name: value + 1 for name, value in STATE.items()},
    )

    description = described(tmp_path / "a.ckpt", content)

    assert names(description) == list(STATE)
    assert description.notes == ("left out 'optimizer_states': training state, not weights",)


# ---------------------------------------------------------------- figures


def test_what_model_checkpoint_watches_is_a_figure_of_the_checkpoint(tmp_path: Path) -> None:
    callbacks = {
        "EarlyStopping{'monitor': 'val_acc'}": {"best_score": torch.tensor(1.0), "patience": 3},
        "ModelCheckpoint{'monitor': 'val_loss'}": {
            "monitor": "val_loss",
            "best_model_score": torch.tensor(0.25),
            "current_score": torch.tensor(0.5),
            "best_k_models": {"a.ckpt": torch.tensor(0.25)},
        },
        "ModelCheckpoint{'monitor': 'val_acc'}": {
            "monitor": "val_acc",
            "best_model_score": torch.tensor(0.75, dtype=torch.float64),
            "current_score": torch.tensor(0.625),
        },
    }

    measures = described(tmp_path / "a.ckpt", checkpoint(callbacks=callbacks)).measures

    assert measures == {"val_loss": 0.5, "best_model_score": 0.25, "val_acc": 0.625}


@pytest.mark.parametrize(
    "state",
    [
        {"monitor": None, "best_model_score": None, "current_score": None},
        {"monitor": "val_loss", "best_model_score": "0.5", "current_score": "x"},
        {"monitor": "a\nb", "best_model_score": torch.ones(2), "current_score": torch.tensor(1.0)},
        {"monitor": 3, "best_model_score": True},
        [1],
    ],
)
def test_what_is_no_figure_does_not_count(tmp_path: Path, state: object) -> None:
    content = checkpoint(callbacks={"ModelCheckpoint": state})

    assert described(tmp_path / "a.ckpt", content).measures == {}


def test_a_figure_that_is_not_finite_is_kept(tmp_path: Path) -> None:
    score = torch.tensor(torch.nan)
    state = {"monitor": "val_loss", "best_model_score": None, "current_score": score}

    found = described(tmp_path / "a.ckpt", checkpoint(callbacks={"ModelCheckpoint": state}))

    assert found.measures == pytest.approx({"val_loss": torch.nan}, nan_ok=True)


def test_a_series_of_made_up_files_opens_as_one_run(tmp_path: Path) -> None:
    for step in (10, 20):
        state = {f"net.{name}": value for name, value in small(step / 10).items()}
        content = checkpoint(state, hyper_parameters=argparse.Namespace(), global_step=step)
        saved(tmp_path / f"epoch={step // 10}-step={step}.ckpt", content)

    run = aw.open_run(tmp_path)

    assert list(run.steps) == [10, 20]
    assert [layer.name for layer in run.layers] == ["fc"]
