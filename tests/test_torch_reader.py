"""The torch reader, on files that torch itself wrote, and on files that nobody should write."""

from __future__ import annotations

import importlib
import os
import pickle
import random
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from accweight_adapters.torch.reader import TorchReader
from accweight_core.dtypes import DTYPES
from accweight_core.errors import FormatError, UnsupportedDtypeError
from accweight_core.naming import layers_of
from accweight_core.schema import Axis, Description, Extent, HiddenValues, Kind, StoredTensor

SHARED = Path(__file__).parents[2] / "shared" / "data"
READER = TorchReader()
FORMATS = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])


def saved(path: Path, content: object, *, is_zip: bool = True, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, path, _use_new_zipfile_serialization=is_zip, **options)
    return path


def described(path: Path, content: object, **options: Any) -> Description:
    return READER.describe(saved(path, content, **options))


def names(description: Description) -> list[str]:
    return [tensor.name for tensor in description.tensors]


def values_of(stored: StoredTensor) -> torch.Tensor:
    """Read an extent the way core does, as plainly as possible."""
    extent = stored.values
    assert isinstance(extent, Extent)
    if not extent.elements:  # may lie at the very end of a file, where there is nothing to read
        return torch.empty(extent.shape, dtype=getattr(torch, extent.dtype))
    item_bytes = DTYPES[extent.dtype].size_bytes
    raw = Path(extent.path).read_bytes()[extent.offset :]
    raw = raw[: len(raw) // item_bytes * item_bytes]
    if extent.big_endian:
        raw = np.frombuffer(raw, f">u{item_bytes}").astype(f"<u{item_bytes}").tobytes()
    flat = torch.frombuffer(bytearray(raw), dtype=getattr(torch, extent.dtype))
    strides = extent.strides or torch.empty(extent.shape, device="meta").stride()
    return flat.as_strided(extent.shape, strides)


def check_extents(description: Description) -> None:
    """Fail unless every extent lies within its file."""
    for stored in description.tensors:
        extent = stored.values
        if isinstance(extent, HiddenValues):
            assert stored.refusal
            continue
        strides = extent.strides or torch.empty(extent.shape, device="meta").stride()
        last = sum((n - 1) * step for n, step in zip(extent.shape, strides, strict=True))
        used = (last + 1) * DTYPES[extent.dtype].size_bytes if extent.elements else 0
        assert 0 <= extent.offset <= extent.offset + used <= os.path.getsize(extent.path)


def problem_of(path: Path) -> str:
    """Return the message for a file that must be refused, having checked its form."""
    with pytest.raises(FormatError) as caught:
        READER.describe(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < 600 + len(str(path))
    return text


def zipped(path: Path, pickled: bytes, storages: dict[str, bytes], **others: bytes) -> Path:
    """Write a torch zip by hand."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
        for name, content in {**others, **{f"data/{k}": v for k, v in storages.items()}}.items():
            archive.writestr(f"x/{name}", content)
    return path


def rezipped(path: Path, change: Callable[[str, bytes], bytes], method: int = 0) -> Path:
    """Write the records of a zip again, each as `change` returns it."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in records.items():
            archive.writestr(name, change(name, content))
    return path


class StorageStandIn:
    """Pickled as a reference to a storage, whatever that reference claims."""

    def __init__(self, elements: object = 4, key: object = "0", *view: object) -> None:
        self.claim = ("storage", torch.FloatStorage, key, "cpu", elements, *view)


class TensorStandIn:
    """Pickled as a call of torch's rebuild function on arbitrary arguments."""

    def __init__(
        self, shape: object, strides: object, offset: object = 0, storage: object = None
    ) -> None:
        storage = StorageStandIn() if storage is None else storage
        self.args: tuple[Any, ...] = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how torch would rebuild this."""
        return torch._utils._rebuild_tensor_v2, self.args


def pickled(content: object, file_path: Path) -> bytes:
    """Pickle with the stand-ins above turned into claims."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return value.claim if isinstance(value, StorageStandIn) else None

    with file_path.open("wb") as file:
        Pickler(file, protocol=2).dump(content)
    return file_path.read_bytes()


def claimed(tmp_path: Path, content: object, storage_bytes: int = 16) -> Path:
    """Write a zip whose pickle holds stand-ins, with one storage of zeros."""
    content_bytes = pickled(content, tmp_path / "pickle")
    return zipped(tmp_path / "claimed.pt", content_bytes, {"0": bytes(storage_bytes)})


class Net(nn.Module):
    """A convolution, a normalisation with buffers, a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.fc = nn.Linear(12, 5)


class Mischief:
    """Runs a command when unpickled by anything that runs pickles."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        """Say what any unpickler that trusts its file will do."""
        return os.system, (f"touch {self.marker}",)


# ---------------------------------------------------------------- what is described


@FORMATS
def test_a_state_dict_is_described_where_its_values_lie(tmp_path: Path, is_zip: bool) -> None:
    state = Net().state_dict()

    description = described(tmp_path / "a.pt", state, is_zip=is_zip)

    assert names(description) == list(state)
    for stored in description.tensors:
        assert stored.dtype == str(state[stored.name].dtype).removeprefix("torch.")
        assert stored.shape == state[stored.name].shape
        assert torch.equal(values_of(stored), state[stored.name])
    assert description.files == (str(tmp_path / "a.pt"),)
    assert (description.step, description.step_key, description.notes) == (None, "", ())


@FORMATS
@pytest.mark.parametrize("dtype", [d for d in DTYPES if not d.startswith("uint")])
def test_every_element_type_is_found_at_its_bytes(tmp_path: Path, is_zip: bool, dtype: str) -> None:
    tensor = torch.tensor([[0.0, 1.0], [2.0, 4.0]]).to(getattr(torch, dtype))

    (stored,) = described(tmp_path / "a.pt", {"w": tensor}, is_zip=is_zip).tensors

    assert stored.dtype == dtype
    assert torch.equal(
        values_of(stored).contiguous().view(torch.uint8), tensor.contiguous().view(torch.uint8)
    )


@FORMATS
def test_views_keep_their_strides_and_tied_weights_both_names(tmp_path: Path, is_zip: bool) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    state = {"all": base, "turned": base.t(), "part": base[1:3, 2:5], "tied": base}

    tensors = described(tmp_path / "a.pt", state, is_zip=is_zip).tensors

    assert [s.values.strides for s in tensors if isinstance(s.values, Extent)] == [
        None,
        (1, 6),
        (6, 1),
        None,
    ]
    assert all(torch.equal(values_of(stored), state[stored.name]) for stored in tensors)
    assert tensors[0].values == tensors[3].values


@FORMATS
def test_scalars_empty_tensors_and_parameters_are_tensors_too(tmp_path: Path, is_zip: bool) -> None:
    state = {
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 7),
        "parameter": nn.Parameter(torch.ones(3)),
        "one": torch.ones(5, 1).t(),
    }

    tensors = described(tmp_path / "a.pt", state, is_zip=is_zip).tensors

    assert [stored.shape for stored in tensors] == [(), (0, 7), (3,), (1, 5)]
    assert all(torch.equal(values_of(stored), state[stored.name]) for stored in tensors)


def test_a_small_expanded_buffer_is_read_and_a_vast_one_refused(tmp_path: Path) -> None:
    state = {"small": torch.ones(1).expand(3, 4), "vast": torch.ones(1).expand(10**6, 10**6)}

    small, vast = described(tmp_path / "a.pt", state).tensors

    assert torch.equal(values_of(small), torch.ones(3, 4))
    assert "expanded" in vast.refusal


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_any_pickle_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    content = {"model": Net().state_dict(), "epoch": 3, "seen": {1, 2}, "raw": b"x"}

    description = described(tmp_path / "a.pt", content, pickle_protocol=protocol)

    assert names(description) == list(Net().state_dict())
    assert description.step == 3


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(tmp_path / "a.pt", {"w": torch.ones(3)})
    finally:
        torch.serialization.set_crc32_options(before)

    assert names(READER.describe(path)) == ["w"]


def test_tensors_saved_on_a_gpu_are_described_without_one(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.arange(3.0)})
    rezipped(path, lambda _, content: content.replace(b"\x03\0\0\0cpu", b"\x06\0\0\0cuda:0"))

    (stored,) = READER.describe(path).tensors

    assert b"cuda:0" in path.read_bytes()
    assert values_of(stored).tolist() == [0.0, 1.0, 2.0]


def test_the_byte_order_of_the_writing_machine_is_kept(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.arange(3.0)})
    big = {"byteorder": b"big", "data/0": struct.pack(">3f", 0, 1, 2)}
    rezipped(path, lambda name, content: big.get(name.partition("/")[2], content))

    (stored,) = READER.describe(path).tensors

    assert isinstance(stored.values, Extent)
    assert stored.values.big_endian
    assert values_of(stored).tolist() == [0.0, 1.0, 2.0]


def test_a_view_of_a_legacy_storage_starts_inside_it(tmp_path: Path) -> None:
    view = StorageStandIn(6, "7", ("8", 2, 3))
    content = {"w": TensorStandIn((2,), (1,), offset=1, storage=view)}
    path = legacy_file(tmp_path, content, {"7": struct.pack("<q6f", 6, *range(6))})

    (stored,) = READER.describe(path).tensors

    assert values_of(stored).tolist() == [3.0, 4.0]


def legacy_file(tmp_path: Path, content: object, storages: dict[str, bytes]) -> Path:
    """Write a legacy file by hand; `storages` include their int64 lengths."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, content, list(storages))
    path = tmp_path / "legacy.pt"
    head = b"".join(pickled(part, tmp_path / "pickle") for part in parts)
    path.write_bytes(head + b"".join(storages.values()))
    return path


def test_an_ordered_dict_pickled_by_python_2_is_read(tmp_path: Path) -> None:
    tensor = pickled(TensorStandIn((4,), (1,)), tmp_path / "pickle")[2:-1]
    pairs = b"](](X\x01\0\0\0w" + tensor + b"ee"
    content = b"ccollections\nOrderedDict\n(" + pairs + b"tR."
    path = zipped(tmp_path / "a.pt", content, {"0": bytes(16)})

    assert names(READER.describe(path)) == ["w"]


# ---------------------------------------------------------------- finding the weights


WRAPPED = {"conv.weight": torch.ones(2, 2), "conv.bias": torch.ones(2)}


@pytest.mark.parametrize(
    "content",
    [
        WRAPPED,
        {"state_dict": WRAPPED},
        {"model_state_dict": WRAPPED, "loss": torch.tensor(0.5), "args": [1, "x", None]},
        {"model": {"state_dict": WRAPPED}},
        {"my_run": WRAPPED, "epoch": 3},
        {"optimal": WRAPPED, "config": {"x" * 2000: {"lr": 0.1}}},
        {"net": WRAPPED, "fixed_noise": torch.ones(3)},
        {"model": WRAPPED, "model_ema": WRAPPED | {}, "optim": {"m": torch.ones(2)}},
        {"ema": WRAPPED, "epoch": 3},
        {"model": WRAPPED, "lr_scheduler": {"last": torch.ones(1)}, "rng": {"x": torch.ones(1)}},
        {"weights": WRAPPED, "sgd": {"state": {0: {"m": torch.ones(2)}}, "param_groups": [{}]}},
        (WRAPPED, {"state": {0: {"m": torch.ones(2)}}, "param_groups": []}),
        {"conv": {"weight": torch.ones(2, 2), "bias": torch.ones(2)}},
        {"module": {f"module.{name}": tensor for name, tensor in WRAPPED.items()}},
        {f"module._orig_mod.{name}": tensor for name, tensor in WRAPPED.items()},
        {name.replace(".", "._orig_mod."): tensor for name, tensor in WRAPPED.items()},
        {f"_fsdp_wrapped_module.{name}": tensor for name, tensor in WRAPPED.items()},
    ],
)
def test_weights_are_found_in_what_scripts_put_around_them(tmp_path: Path, content: object) -> None:
    assert names(described(tmp_path / "a.pt", content)) == ["conv.weight", "conv.bias"]


def test_the_weights_of_adam_are_not_weights(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    content = {"net": model.state_dict(), "opt": optimizer.state_dict(), "epoch": 4}

    description = described(tmp_path / "a.pt", content)

    assert names(description) == ["weight", "bias"]
    assert description.notes == ("left out 'opt': training state, not weights",)


def test_an_averaged_copy_is_left_out_with_a_note(tmp_path: Path) -> None:
    content = {"model": WRAPPED, "ema_state_dict": {n: t + 1 for n, t in WRAPPED.items()}}

    description = described(tmp_path / "a.pt", content)

    assert torch.equal(values_of(description.tensors[0]), WRAPPED["conv.weight"])
    assert description.notes == (
        "left out 'ema_state_dict': an averaged copy beside the model itself",
    )


def test_two_models_keep_their_keys(tmp_path: Path) -> None:
    content = {
        "generator": {f"module.{n}": t for n, t in WRAPPED.items()},
        "discriminator": {"state_dict": {"fc.weight": torch.ones(1, 2)}},
        "optimizer_g": {"state": {}, "param_groups": []},
    }

    found = names(described(tmp_path / "a.pt", content))

    assert found == ["generator.conv.weight", "generator.conv.bias", "discriminator.fc.weight"]


def test_a_prefix_that_only_some_names_have_stays(tmp_path: Path) -> None:
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}

    assert names(described(tmp_path / "a.pt", state)) == ["module.a", "b"]


def test_stripping_never_merges_two_names(tmp_path: Path) -> None:
    state = {"a.w": torch.ones(1), "a._orig_mod.w": torch.ones(1)}

    description = described(tmp_path / "a.pt", state)

    assert names(description) == list(state)
    assert "keep their wrapping prefixes" in description.notes[0]


def test_two_tensors_of_one_name_are_an_error(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"a.b": torch.ones(1), "a": {"b": torch.ones(1)}})

    assert "two tensors that would both be called 'a.b'" in problem_of(path)


@pytest.mark.parametrize(
    "content",
    [{}, [], 3, {"epoch": 3}, {"optimizer": {"m": torch.ones(1)}}, {"losses": [torch.ones(1)]}],
)
def test_a_file_without_weights_says_so(tmp_path: Path, content: object) -> None:
    assert "holds no weights" in problem_of(saved(tmp_path / "a.pt", content))


@pytest.mark.parametrize("name", ["", "a\nb", "\ud800", "x" * 1001])
def test_names_that_cannot_be_shown_are_an_error(tmp_path: Path, name: str) -> None:
    path = claimed(tmp_path, {name: TensorStandIn((4,), (1,))})

    assert "printable characters" in problem_of(path)


def test_a_mapping_that_holds_itself_is_walked_once(tmp_path: Path) -> None:
    content: dict[str, Any] = {"w": torch.ones(1)}
    content["again"] = content

    assert names(described(tmp_path / "a.pt", content)) == ["w"]


def test_tensors_nested_without_end_are_an_error(tmp_path: Path) -> None:
    content: Any = torch.ones(1)
    for _ in range(40):
        content = {"a": content}

    assert "more than 32 deep" in problem_of(saved(tmp_path / "a.pt", content))


def test_a_mapping_named_a_million_times_is_walked_once(tmp_path: Path) -> None:
    content: dict[str, Any] = {"w": torch.ones(1)}
    for _ in range(20):
        content = {"a": content, "b": content}

    assert len(names(described(tmp_path / "a.pt", content))) == 1


# ---------------------------------------------------------------- step


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"epoch": 7}, (7, "epoch")),
        ({"epoch": 7, "global_step": 900}, (900, "global_step")),
        ({"iteration": 5, "step": 6, "epoch": 1}, (6, "step")),
        ({"epoch": 7.0}, (7, "epoch")),
        ({"epoch": np.int64(-7)}, (-7, "epoch")),
        ({"epoch": np.dtype(">u2").type(7)}, (7, "epoch")),
        ({"epoch": np.float32(7.0)}, (7, "epoch")),
        ({"epoch": 7.5}, (None, "")),
        ({"epoch": True}, (None, "")),
        ({"epoch": torch.tensor(7), "iter": 3}, (3, "iter")),
        ({"epoch": "7"}, (None, "")),
        ({"epoch": float("inf")}, (None, "")),
        ({"epoch": 2**70}, (None, "")),
    ],
)
def test_the_step_is_read_beside_the_weights(
    tmp_path: Path, beside: dict[str, Any], expected: tuple[int | None, str]
) -> None:
    description = described(tmp_path / "a.pt", {"model": WRAPPED, **beside})

    assert (description.step, description.step_key) == expected


def test_numpy_values_beside_the_weights_are_harmless(tmp_path: Path) -> None:
    content = {
        "model": WRAPPED,
        "scores": np.arange(3.0),
        "best": np.float64(0.5),
        "kind": np.dtype("f4"),
        "type": type(np.dtype("f4")),
        "objects": np.array([1, "x"], dtype=object),
    }

    assert names(described(tmp_path / "a.pt", content)) == list(WRAPPED)


# ---------------------------------------------------------------- what is refused, one by one


def odd_tensors() -> dict[str, tuple[torch.Tensor, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "quantised": (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "qint8"),
            "channels": (
                torch.quantize_per_channel(
                    torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.quint8
                ),
                "quint8",
            ),
            "sparse": (torch.eye(3).to_sparse(), "sparse"),
            "rows": (torch.eye(3).to_sparse_csr(), "sparse"),
            "nested": (torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested"),
            "meta": (torch.ones(2, device="meta"), "meta"),
            "conjugate": (torch.ones(2, dtype=torch.complex64).conj(), "conjugation"),
            "half": (torch.ones(2, dtype=torch.complex32), "complex32"),
        }


def test_a_list_of_parameters_has_layers_with_their_biases(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Linear(16, 8), nn.Linear(8, 3))
    torch.save(list(model.parameters()), tmp_path / "list.pt")

    layers = layers_of(TorchReader().describe(tmp_path / "list.pt").tensors)

    assert [(layer.kind, [p.name for p in layer.parameters]) for layer in layers] == [
        (Kind.CONV, ["0", "1"]),
        (Kind.LINEAR, ["2", "3"]),
        (Kind.LINEAR, ["4", "5"]),
    ]
    assert [layer.parameters[0].axes for layer in layers[1:]] == [(Axis.OUTPUT, Axis.INPUT)] * 2


@pytest.mark.parametrize("kind", odd_tensors())
def test_a_tensor_without_plain_values_is_listed_with_the_reason(tmp_path: Path, kind: str) -> None:
    tensor, reason = odd_tensors()[kind]

    odd, plain = described(tmp_path / "a.pt", {"odd": tensor, "plain": torch.ones(2)}).tensors

    assert reason in odd.refusal
    assert isinstance(odd.values, HiddenValues)
    assert kind == "nested" or odd.shape == tensor.shape
    with pytest.raises(UnsupportedDtypeError, match="tensor 'odd' cannot be analysed"):
        odd.values.load()
    assert torch.equal(values_of(plain), torch.ones(2))


@FORMATS
@pytest.mark.parametrize("nested", [True, False])
def test_a_pickle_that_runs_a_command_is_refused_and_runs_nothing(
    tmp_path: Path, is_zip: bool, nested: bool
) -> None:
    marker = tmp_path / "marker"
    mischief = Mischief(marker)
    content = {"model": WRAPPED, "x": mischief} if nested else mischief

    text = problem_of(saved(tmp_path / "a.pt", content, is_zip=is_zip))

    assert "system'" in text
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        "builtins eval",
        "os system",
        "torch load",
        "torch._utils _import_dotted_name",
        "numpy load",
        "numpy.core.multiarray fromfile",
        "torch.hub load",
        "torch.serialization load",
        "torch.serialization os.system",
    ],
)
def test_names_that_run_code_are_refused(tmp_path: Path, name: str) -> None:
    module, _, attribute = name.partition(" ")
    path = zipped(tmp_path / "a.pt", f"c{module}\n{attribute}\n(tR.".encode(), {})

    assert "only plain weights are read" in problem_of(path)


@pytest.mark.parametrize(
    "name",
    ["builtins getattr", "numpy.dtypes __builtins__", "torch FloatTensor", "torch float32.to",
     "collections OrderedDict.fromkeys", "my.project Thing", "posix\\x0asystem " + "x" * 3000],
)  # fmt: skip
def test_other_names_stand_for_nothing(tmp_path: Path, name: str) -> None:
    module, _, attribute = name.partition(" ")
    path = zipped(tmp_path / "a.pt", f"c{module}\n{attribute}\n(tR.".encode(), {})

    assert "holds no weights" in problem_of(path)


# ---------------------------------------------------------------- lies and damage


@pytest.mark.parametrize(
    "tensor",
    [
        TensorStandIn((5,), (1,)),
        TensorStandIn((4,), (1,), offset=1),
        TensorStandIn((2, 2), (4, 1)),
        TensorStandIn((4,), (-1,), offset=3),
        TensorStandIn((-4,), (1,)),
        TensorStandIn((4,), (1,), offset=-1),
        TensorStandIn((2**63,), (0,)),
        TensorStandIn((2**40, 2**40), (0, 0)),
        TensorStandIn((2**62 - 1,), (2**62 - 1,)),
        TensorStandIn((1,) * 65, (1,) * 65),
        TensorStandIn((4,), ()),
        TensorStandIn((4.0,), (1,)),
        TensorStandIn((True,), (1,)),
        TensorStandIn("4", (1,)),
        TensorStandIn((4,), (1,), storage=StorageStandIn(3)),
        TensorStandIn((5,), (1,), storage=StorageStandIn(5)),
        TensorStandIn((4,), (1,), storage=StorageStandIn(-1)),
        TensorStandIn((4,), (1,), storage=StorageStandIn(2**70)),
        TensorStandIn((4,), (1,), storage=StorageStandIn("4")),
        TensorStandIn((4,), (1,), storage=StorageStandIn(4, "1")),
        TensorStandIn((4,), (1,), storage=StorageStandIn(4, "../0")),
        TensorStandIn((4,), (1,), storage=StorageStandIn(4, 0)),
        TensorStandIn((4,), (1,), storage=StorageStandIn(4, "0", ("1", 1, 4))),
        TensorStandIn((4,), (1,), storage=StorageStandIn(4, "0", ("1",))),
        TensorStandIn((2,), (1,), storage=StorageStandIn(3, "0", ("1", 2, 2))),
        TensorStandIn((4,), (1,), storage=torch.float32),
    ],
)
def test_a_tensor_that_lies_about_its_storage_is_an_error(
    tmp_path: Path, tensor: TensorStandIn
) -> None:
    path = claimed(tmp_path, {"w": tensor})

    assert READER.recognises(path)
    problem_of(path)


def test_an_honest_stand_in_is_no_error(tmp_path: Path) -> None:
    (stored,) = READER.describe(claimed(tmp_path, {"w": TensorStandIn((2, 2), (2, 1))})).tensors

    assert torch.equal(values_of(stored), torch.zeros(2, 2))


def test_a_record_shorter_than_its_tensor_is_named(tmp_path: Path) -> None:
    text = problem_of(claimed(tmp_path, {"conv.w": TensorStandIn((4,), (1,))}, storage_bytes=15))

    assert "tensor 'conv.w' needs 16 bytes of storage '0'" in text
    assert "has 15" in text


@pytest.mark.parametrize(
    ("pickled_bytes", "expected"),
    [
        (b"", "cut short"),
        (b"\x80\x02", "cut short"),
        (b"\xff.", "unknown operation"),
        (b".", "parsing it failed"),
        (b"R.", "parsing it failed"),
        (b"u.", "parsing it failed"),
        (b"\x85.", "takes more values"),
        (b"j\xff\xff\xff\xff.", "parsing it failed"),
        (b"(i" + b"os\nsystem\n.", "os.system"),
        (b"N(tR.", "not a known function"),
        (b"N}b.", "changes a tensor"),
        (b"NNa.", "not a list"),
        (b"NNNs.", "not a dict"),
        (b"X\x07\0\0\0storage\x85Q.", "not a storage"),
        (b"NNQ.", "holds no weights"),
        (b"Pos\n.", "holds no weights"),
        (b"\x82\x01)R.", "holds no weights"),
        (b"\x8e" + b"\xff" * 7 + b"\x0fabc.", "cut short"),
        (b"\x8a\xffabc.", "cut short"),
        (b"T\xff\xff\xff\xffabc.", "cut short"),
        (b"}(]Nu.", "holds no weights"),
        (b"(" * 100_000 + b".", "parsing it failed"),
        (b"]" + b"\x85" * 100_000 + b".", "holds no weights"),
        (b"}(N" + b"\x85" * 100_000 + b"Nu.", "holds no weights"),
    ],
)
def test_a_malformed_pickle_is_an_error(
    tmp_path: Path, pickled_bytes: bytes, expected: str
) -> None:
    assert expected in problem_of(zipped(tmp_path / "a.pt", pickled_bytes, {}))


@pytest.mark.parametrize(
    "pickled_bytes",
    [
        b"\x8e" + struct.pack("<Q", 2**60),
        b"\x8e" + struct.pack("<Q", 2**30),
        b"cbuiltins\nbytearray\n(L1000000000000L\ntR.",
        b"cnumpy\nndarray\n(L1000000000000L\ntR.",
        b"r\xff\xff\xff\x7f.",
        b"]r\xff\xff\xff\x7f.",
        b"ccollections\nOrderedDict\nq\x00]("
        + b"".join(b"M" + struct.pack("<H", key) + b"K\x02\x86" for key in range(1000))
        + b"eq\x01"
        + b"h\x00h\x01\x85R" * 1000
        + b".",
    ],
    ids=["bytes", "gigabyte", "bytearray", "ndarray", "empty memo", "memo", "copies"],
)
@FORMATS
def test_a_small_file_never_makes_a_large_allocation(
    tmp_path: Path, is_zip: bool, pickled_bytes: bytes
) -> None:
    path = zipped(tmp_path / "a.pt", pickled_bytes, {})
    if not is_zip:
        path = legacy_file(tmp_path, 0, {})
        path.write_bytes(path.read_bytes()[:-3].rpartition(b"\x80\x02")[0] + pickled_bytes)
    tracemalloc.start()
    try:
        problem_of(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 3_000_000


def test_an_empty_file_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.touch()

    assert not READER.recognises(path)
    assert "empty (0 bytes)" in problem_of(path)


def test_a_missing_file_and_a_folder_are_errors_of_the_same_kind(tmp_path: Path) -> None:
    assert "No such file" in problem_of(tmp_path / "missing.pt")
    assert "Is a directory" in problem_of(tmp_path)
    assert not READER.recognises(tmp_path / "missing.pt")
    assert not READER.recognises(tmp_path)


@FORMATS
def test_a_truncated_file_is_recognised_and_said_to_be_cut_short(
    tmp_path: Path, is_zip: bool
) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.ones(1000)}, is_zip=is_zip)
    path.write_bytes(path.read_bytes()[:3000])

    assert READER.recognises(path)
    assert "cut short" in problem_of(path)


def test_a_compressed_zip_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.ones(100)})
    rezipped(path, lambda _, content: content, method=zipfile.ZIP_DEFLATED)

    assert "is compressed" in problem_of(path)
    assert "save it again" in problem_of(path)


def test_a_flipped_bit_in_the_pickle_breaks_its_checksum(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"conv.weight": torch.ones(100)})
    path.write_bytes(path.read_bytes().replace(b"conv.weight", b"conw.weight"))

    assert "checksum" in problem_of(path)


def test_an_unknown_byte_order_is_an_error(tmp_path: Path) -> None:
    path = claimed(tmp_path, {"w": TensorStandIn((4,), (1,))})
    zipped(path, pickled({}, tmp_path / "p"), {}, byteorder=b"middle")

    assert "'middle', not little or big" in problem_of(path)


@pytest.mark.parametrize("length", [-1, 5, 2**60])
def test_a_legacy_storage_that_lies_about_its_length_is_an_error(
    tmp_path: Path, length: int
) -> None:
    content = {"w": TensorStandIn((4,), (1,))}
    path = legacy_file(tmp_path, content, {"0": struct.pack("<q4f", length, 0, 0, 0, 0)})

    assert "cut short or damaged" in problem_of(path)


def test_other_files_are_not_recognised(tmp_path: Path) -> None:
    others = {
        "text": b"hello",
        "pickle": pickle.dumps({"w": 1}),
        "zip head": b"PK\x03\x04" + b"\xff" * 60,
        "lfs": b"version https://git-lfs.github.com/spec/v1\n",
    }
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    np.savez(tmp_path / "npz", w=np.ones(3))

    assert not any(READER.recognises(tmp_path / name) for name in [*others, "npz.npz"])
    assert "neither a zip of torch.save nor its legacy format" in problem_of(tmp_path / "text")


@FORMATS
def test_damage_anywhere_ends_in_a_format_error_or_a_sound_description(
    tmp_path: Path, is_zip: bool
) -> None:
    chance = random.Random(20240607)
    content = {"model": Net().state_dict(), "epoch": 3, "best": np.float64(1.0)}
    whole = saved(tmp_path / "a.pt", content, is_zip=is_zip).read_bytes()
    pickle_end = whole.index(b"PK", 4) if is_zip else len(whole) - 1000
    path = tmp_path / "damaged.pt"
    refusals = 0
    for case in range(400):
        damaged = bytearray(whole)
        if case % 4 == 0:
            del damaged[chance.randrange(len(damaged)) :]
        for _ in range(chance.randrange(1, 4)):
            if damaged:
                limit = len(damaged) if case % 2 else min(len(damaged), pickle_end)
                damaged[chance.randrange(limit)] = chance.randrange(256)
        path.write_bytes(without_checksum(bytes(damaged)) if is_zip else damaged)

        READER.recognises(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check_extents(READER.describe(path))
        except FormatError:
            refusals += 1

    assert 200 < refusals < 400


def without_checksum(content: bytes) -> bytes:
    """Zero the pickle's checksum in the directory, so that damage reaches the parser."""
    at = content.find(b"PK\x01\x02")
    return content if at < 0 else content[: at + 16] + bytes(4) + content[at + 20 :]


# ---------------------------------------------------------------- real runs, and the import


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the sample data in ../shared/data")
@pytest.mark.parametrize(("run", "count"), [("tbot", 35), ("pinn_mlp", 37)])
def test_real_runs_are_described_bit_for_bit(run: str, count: int) -> None:
    for path in sorted((SHARED / "runs" / run).glob("checkpoint_epoch_*0.pt")):
        description = READER.describe(path)
        with torch.serialization.safe_globals(numpy_globals()):
            loaded = torch.load(path, map_location="cpu", weights_only=True)

        assert READER.recognises(path)
        assert (description.step, description.step_key) == (loaded["epoch"], "epoch")
        assert len(description.tensors) == count
        assert names(description) == list(loaded["model_state_dict"])
        for stored in description.tensors:
            assert torch.equal(values_of(stored), loaded["model_state_dict"][stored.name])


def numpy_globals() -> list[Any]:
    multiarray = importlib.import_module("numpy._core.multiarray")
    kinds = [type(np.dtype(code)) for code in ("f8", "i8")]
    return [multiarray._reconstruct, multiarray.scalar, np.ndarray, np.dtype, *kinds]


def test_describing_needs_no_torch(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"w": torch.ones(1)})
    script = (
        "import sys; from pathlib import Path\n"
        "from accweight_adapters.torch.reader import TorchReader\n"
        f"TorchReader().describe(Path({str(path)!r}))\n"
        "sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
