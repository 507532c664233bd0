"""Map files: what they say, and that whatever else is in one is an error of one line."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accweight_core.errors import AccweightError, FormatError, SourceError
from accweight_core.runs.name_map import Entry, NameMap, as_map, quoted
from accweight_core.schema import Axis, Kind, Role

WHOLE = """\
files = "*.onnx"
[layers]
"conv2d_1" = "conv2"
attn = ["attn.q", "attn.k"]
"aux" = false
lstm = { name = "rnn", kind = "lstm", files = ["a.pt", "b.pt"] }
[parameters]
"onnx::MatMul_1" = "fc.weight"
"val_7" = { name = "w", layer = "l", kind = "linear", role = "weight", axes = ["input", "output"] }
"net.*.w" = "*.weight"
gone = { skip = true }
"""


def read(tmp_path: Path, text: str) -> NameMap:
    file = tmp_path / "map.toml"
    file.write_text(text, encoding="utf-8")
    return NameMap.read(file)


def problem(tmp_path: Path, text: str) -> str:
    """Return what is wrong with a map, without where the file is."""
    with pytest.raises(FormatError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{tmp_path / 'map.toml'}: ")


def test_a_map_says_names_kinds_axes_and_what_is_left_out(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE)

    onnx = ("*.onnx",)
    assert found.layers == {
        "conv2d_1": Entry(("conv2",), files=onnx),
        "attn": Entry(("attn.q", "attn.k"), files=onnx),
        "aux": Entry(skip=True, files=onnx),
        "lstm": Entry(("rnn",), kind=Kind.LSTM, files=("a.pt", "b.pt")),
    }
    assert found.parameters["val_7"] == Entry(
        ("w",), layer="l", kind=Kind.LINEAR, role=Role.WEIGHT,
        axes=(Axis.INPUT, Axis.OUTPUT), files=onnx,
    )  # fmt: skip
    assert found.parameters["gone"].skip


def test_entries_hold_for_their_checkpoints_alone(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE)

    assert found.of_parameter("onnx::MatMul_1", "runs/net_3.onnx") is not None
    assert found.of_parameter("onnx::MatMul_1", "runs/net_3.pt") is None
    assert found.of_layer("lstm", "here/b.pt") is not None
    assert found.of_layer("lstm", "here/c.pt") is None
    assert Entry(files=("/late/*",)).holds_for("runs/late/net.pt")
    assert not Entry(files=("/late/*",)).holds_for("runs/early/net.pt")


def test_a_star_stands_for_the_same_text_in_both(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE)

    entry = found.of_parameter("net.block.3.w", "a.onnx")
    assert entry is not None
    assert entry.names == ("block.3.weight",)
    assert found.of_parameter("net.w", "a.onnx") is None
    assert found.of_parameter("other", "a.onnx") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[layers\n", "the map is not TOML: "),
        ('a = "b"\n', "line 1: 'a' unknown; a map has [layers], [parameters] and files"),
        ('\nlayers = "b"\n', "'layers' must be a table; begin it with a line [layers]"),
        ('[layers]\n"a" = 3\n', "line 2: layers: 'a' is 3; expected a name, false to leave it out"),
        ("[layers]\na = true\n", "line 2: layers: 'a' is True; expected a name"),
        ('[layers]\na = ""\n', "line 2: layers: 'a' name is ''; expected a name in quotes"),
        ("[layers]\n\na = [1]\n", "line 3: layers: 'a' is [1]; expected texts in quotes"),
        ('[parameters]\na = ["b"]\n', "line 2: parameters: 'a' is ['b']; expected a name"),
        (
            '[layers]\na = { kind = "dense" }\n',
            "line 2: layers: 'a' kind 'dense' is not one of conv, conv_transpose, linear",
        ),
        ('[parameters]\na = { role = "optimizer" }\n', "'a' role 'optimizer' is not one of weight"),
        (
            '[parameters]\na = { axes = ["up"] }\n',
            "'a' axes ['up'] must be a list of output",
        ),
        ('[parameters]\na = { axes = "input" }\n', "'a' axes 'input' must be a list of output"),
        ('[parameters]\na = { nmae = "b" }\n', "'a' has 'nmae'; what can be said is name, layer"),
        ('[parameters]\na = { skip = "no" }\n', "'a' skip is 'no'; expected true or false"),
        ("[parameters]\na = { files = 3 }\n", "'a' is 3; expected texts in quotes"),
        ('[parameters]\na = "x.*"\n', "'a' becomes 'x.*', but has no * itself"),
        (
            '[parameters]\nfc.weight = "w"\n',
            "line 2: parameters: 'fc' has 'weight'; what can be said is name",
        ),
        (
            '[parameters]\nfc.a.weight = "w"\n',
            "'fc' has 'a', which TOML takes for tables: put the name in quotes; what can be said",
        ),
        ("[parameters]\na = 1979-05-27\n", "'a' is datetime.date(1979, 5, 27); expected a name"),
        (f"a = {'[' * 5000}{']' * 5000}", "the map is not TOML: "),
    ],
)
def test_what_cannot_be_is_an_error_that_names_line_and_key(
    tmp_path: Path, text: str, message: str
) -> None:
    assert message in problem(tmp_path, text)


def test_a_file_that_is_not_there_or_no_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.toml: the map cannot be read \(No such file"):
        as_map(tmp_path / "gone.toml")
    (tmp_path / "map.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="not TOML"):
        as_map(tmp_path / "map.toml")
    with (tmp_path / "map.toml").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(FormatError, match="at most 16 MiB"):
        as_map(tmp_path / "map.toml")


def test_what_an_analysis_kept_is_the_same_map(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE)

    again = NameMap.of_document(found.document)

    assert (again.layers, again.parameters) == (found.layers, found.parameters)


@given(st.text())
def test_any_name_survives_being_written(name: str) -> None:
    plain = "".join("\ufffd" if 0xD800 <= ord(c) <= 0xDFFF else c for c in name)

    assert tomllib.loads(f"{quoted(name)} = {quoted(name)}") == {plain: plain}


def test_damaged_maps_are_refused_or_read_and_nothing_else(tmp_path: Path) -> None:
    chance = random.Random(5)
    data, file = WHOLE.encode(), tmp_path / "map.toml"
    problems = []
    for _ in range(1500):
        damaged = bytearray(data[: chance.randrange(len(data))] if chance.random() < 0.3 else data)
        for _ in range(chance.randrange(1, 4)):
            if damaged:
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        file.write_bytes(damaged)
        try:
            NameMap.read(file)
        except AccweightError as error:
            problems.append(str(error))

    assert len(problems) > 700
    assert not any("\n" in problem for problem in problems)
