"""Zips of Stable-Baselines 2: an archive of NumPy in a zip, its order, bombs and damage."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pickle_files import write_older_baselines

import accweight_core as aw
from accweight_adapters.numpy.baselines_reader import OlderBaselinesReader
from accweight_adapters.torch.sb3_reader import StableBaselinesReader
from accweight_core.errors import FormatError
from accweight_core.readers import reader_for
from accweight_core.schema import Extent, HiddenValues
from accweight_core.testing import values_of

READER = OlderBaselinesReader()
ARRAYS: dict[str, np.ndarray] = {
    "model/pi_fc0/w:0": np.arange(32, dtype=np.float32).reshape(4, 8),
    "model/pi_fc0/b:0": np.zeros(8, np.float32),
    "model/pi/logstd:0": np.ones((1, 3), np.float32),
}
METHODS = pytest.mark.parametrize(
    ("method", "kind"),
    [(zipfile.ZIP_STORED, Extent), (zipfile.ZIP_DEFLATED, HiddenValues)],
    ids=["stored", "deflated"],
)


def problem_of(path: Path) -> str:
    with pytest.raises(FormatError) as caught:
        READER.describe(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@METHODS
def test_parameters_are_read_by_name_with_step_and_figures(
    tmp_path: Path, method: int, kind: type
) -> None:
    path = write_older_baselines(tmp_path / "a.zip", ARRAYS, method)

    description = READER.describe(path)

    assert [t.name for t in description.tensors] == [
        "model.pi_fc0.w", "model.pi_fc0.b", "model.pi.logstd",
    ]  # fmt: skip
    for tensor, expected in zip(description.tensors, ARRAYS.values(), strict=True):
        assert isinstance(tensor.values, kind)
        np.testing.assert_array_equal(values_of(tensor), expected)
    assert (description.step, description.step_key) == (1000, "num_timesteps")
    assert dict(description.measures) == {"learning_rate": 0.25}


def test_the_list_gives_the_order(tmp_path: Path) -> None:
    order = list(reversed(ARRAYS))
    listed = json.dumps([order[0], "of another model", 3]).encode()
    path = write_older_baselines(tmp_path / "a.zip", ARRAYS, parameter_list=listed)

    names = [t.name for t in READER.describe(path).tensors]

    assert names == ["model.pi.logstd", "model.pi_fc0.w", "model.pi_fc0.b"]


def test_each_of_the_two_libraries_has_its_reader(tmp_path: Path) -> None:
    path = write_older_baselines(tmp_path / "a.zip", ARRAYS)

    found = reader_for(path)

    assert found is not None
    assert found.name == "sb2"
    assert not StableBaselinesReader().recognises(path)


def test_a_folder_of_such_zips_is_a_run(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        arrays = {name: values + number for name, values in ARRAYS.items()}
        settings = json.dumps({"num_timesteps": 1000 * number}).encode()
        write_older_baselines(tmp_path / f"rl_model_{number}000_steps.zip", arrays, data=settings)

    run = aw.open_run(tmp_path)

    assert list(run.steps) == [1000, 2000, 3000]
    assert [layer.name for layer in run.layers] == ["model.pi_fc0", "model.pi"]


def compressed_twice() -> bytes:
    buffer = io.BytesIO()
    given: dict[str, Any] = dict(ARRAYS)
    np.savez_compressed(buffer, **given)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"parameters": None}, "holds 'parameters'"),
        ({"parameter_list": b"{"}, "member 'parameter_list' is damaged"),
        ({"data": b"[" * 100_000}, "member 'data' is damaged"),
        ({"parameters": b"no zip"}, "zip directory is missing"),
        ({"parameters": compressed_twice()}, "compressed twice"),
    ],
)
def test_damaged_members_are_named(
    tmp_path: Path, members: dict[str, bytes | None], expected: str
) -> None:
    assert expected in problem_of(write_older_baselines(tmp_path / "a.zip", ARRAYS, **members))


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    bomb = {"parameters": bytes(1 << 22)}
    path = write_older_baselines(tmp_path / "a.zip", ARRAYS, zipfile.ZIP_DEFLATED, **bomb)

    assert "would grow from" in problem_of(path)


def test_settings_that_are_no_object_are_ignored(tmp_path: Path) -> None:
    description = READER.describe(write_older_baselines(tmp_path / "a.zip", ARRAYS, data=b"[3]"))

    assert description.step is None
