"""From what the user typed to the files that hold checkpoints."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from checkpoints import small, write_safetensors, write_sharded, write_small_run

import accweight_core as aw
from accweight_core.errors import AccweightError, FormatError, MismatchError, SourceError
from accweight_core.runs.opening import Opened, survey
from accweight_core.runs.selection import Selection

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
EPOCHS = ["epoch_1.pt", "epoch_2.pt", "epoch_3.pt"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with three checkpoints."""
    return write_small_run(tmp_path / "run", EPOCHS)


def paths(opened: Opened, folder: Path) -> list[str]:
    return [os.path.relpath(c.path, folder) for c in opened.checkpoints]


def problem(source: str | Path | list[Path], **options: object) -> str:
    """Return the text of the error that a source gives; one line of it."""
    with pytest.raises(AccweightError) as caught:
        survey(source, Selection.of(**options))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What the user may type


def test_a_folder_is_searched(folder: Path) -> None:
    opened = survey(folder)

    assert opened.reader == "torch"
    assert opened.source == str(folder)
    assert paths(opened, folder) == EPOCHS


def test_folders_of_folders_are_searched(tmp_path: Path) -> None:
    for step in (500, 1000, 1500):
        path = tmp_path / f"checkpoint-{step}" / "model.safetensors"
        path.parent.mkdir()
        write_safetensors(path, small(step / 1000))

    opened = survey(tmp_path)

    assert opened.reader == "safetensors"
    assert [c.step for c in opened.checkpoints] == [500, 1000, 1500]


def test_a_glob_is_expanded(folder: Path) -> None:
    assert paths(survey(f"{folder}/epoch_[12].pt"), folder) == ["epoch_1.pt", "epoch_2.pt"]
    assert paths(survey(str(folder.parent / "**" / "*.pt")), folder) == EPOCHS


def test_a_glob_of_folders_is_expanded(tmp_path: Path) -> None:
    write_small_run(tmp_path, [f"checkpoint-{n}/model.pt" for n in (1, 2, 10)])

    assert [c.step for c in survey(f"{tmp_path}/checkpoint-*").checkpoints] == [1, 2, 10]


def test_several_files_are_taken(folder: Path) -> None:
    opened = survey([folder / "epoch_3.pt", folder / "epoch_1.pt"])

    assert paths(opened, folder) == ["epoch_1.pt", "epoch_3.pt"]


def test_any_iterable_of_paths_is_taken(folder: Path) -> None:
    opened = survey(folder.glob("*.pt"))  # type: ignore[arg-type]

    assert paths(opened, folder) == EPOCHS


def test_the_same_file_by_two_ways_is_one_checkpoint(folder: Path) -> None:
    assert paths(survey([folder, folder / "epoch_1.pt"]), folder) == EPOCHS


def test_files_named_one_by_one_may_have_any_suffix(tmp_path: Path) -> None:
    for number in (1, 2):
        torch.save(small(number), tmp_path / f"epoch_{number}")

    assert paths(survey(f"{tmp_path}/epoch_*"), tmp_path) == ["epoch_1", "epoch_2"]


# Nothing there


def test_a_path_that_is_not_there_is_named(folder: Path) -> None:
    assert problem(folder / "gone") == f"{folder / 'gone'}: there is no such file or folder"


def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    text = problem(tmp_path)

    assert text.startswith(f"{tmp_path}: no checkpoints found; files looked for: .")
    assert ".safetensors" in text
    assert ".pt " in text


def test_an_analysis_in_place_of_checkpoints_is_called_one(folder: Path, tmp_path: Path) -> None:
    aw.analyze(folder, tmp_path / "run.accw")

    assert problem(tmp_path / "run.accw") == (
        f"{tmp_path / 'run.accw'}: is an analysis, not checkpoints; accweight rank, layers, view "
        "and report show it"
    )


def test_a_glob_that_matches_nothing_is_named(folder: Path) -> None:
    assert f"{folder}/*.nothing: no checkpoints found" in problem(f"{folder}/*.nothing")


def test_a_folder_without_files_of_the_chosen_reader_says_what_that_one_reads(
    folder: Path,
) -> None:
    text = problem(folder, reader="safetensors")

    assert "no checkpoints found" in text
    assert ".safetensors" in text
    assert ".pt" not in text.partition("; found: ")[0].removeprefix(str(folder))


def test_an_unknown_reader_is_answered_with_those_there_are(folder: Path) -> None:
    text = problem(folder, reader="torhc")

    assert text.startswith("no reader is called 'torhc'; did you mean 'torch'? installed readers: ")
    assert {"safetensors", "torch"} <= {*text.partition("readers: ")[2].split(", ")}


def test_every_error_of_a_source_is_also_a_lookup_error(tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        survey(tmp_path)
    with pytest.raises(SourceError):
        survey([])


# What lies beside the weights


def test_what_trainers_write_beside_the_weights_is_left_out_with_a_note(folder: Path) -> None:
    for name in ("optimizer.pt", "rng_state_0.pth", "scheduler.pt", "training_args.bin"):
        torch.save({"state": {}}, folder / name)
    (folder / "config.json").write_text("{}")
    (folder / ".hidden.pt").write_bytes(b"")
    (folder / "._epoch_1.pt").write_bytes(b"x")
    (folder / "notes.txt").write_text("epoch 2 was good")

    opened = survey(folder)

    assert paths(opened, folder) == EPOCHS
    assert len(opened.notes) == 1
    assert opened.notes[0].startswith("left out, not weights: ")
    assert "and 1 more" in opened.notes[0]


def test_what_is_left_out_is_listed_in_one_order_on_every_machine(tmp_path: Path) -> None:
    names = ["optimizer_10.pt", "optimizer_2.pt", "optimizer_1.pt"]
    notes = []
    for place, ordered in {"there": names, "here": names[::-1]}.items():
        folder = write_small_run(tmp_path / place, EPOCHS[:2])
        for name in ordered:
            torch.save({"state": {}}, folder / name)
        notes.append(survey(folder).notes)

    expected = ("left out, not weights: optimizer_1.pt, optimizer_2.pt, optimizer_10.pt",)
    assert notes == [expected, expected]


def test_deepspeeds_optimizer_shards_are_left_out(tmp_path: Path) -> None:
    names = [f"global_step{n}/mp_rank_00_model_states.pt" for n in (100, 200)]
    write_small_run(tmp_path, names)
    for step in (100, 200):
        content = {"optimizer_state_dict": {"state": {}, "param_groups": []}}
        file = "zero_pp_rank_0_mp_rank_00_optim_states.pt"
        torch.save(content, tmp_path / f"global_step{step}" / file)

    opened = survey(tmp_path)

    assert paths(opened, tmp_path) == names


@pytest.mark.parametrize("stem", ["optimized_epoch", "optimal", "optimus"])
def test_weights_whose_names_only_begin_like_training_state_are_kept(
    tmp_path: Path, stem: str
) -> None:
    names = [f"{stem}_{number}.pt" for number in (1, 2)]
    write_small_run(tmp_path, names)

    assert paths(survey(tmp_path), tmp_path) == names


def test_the_final_model_beside_its_checkpoint_folders_does_not_hide_them(tmp_path: Path) -> None:
    for step in (500, 1000):
        path = tmp_path / f"checkpoint-{step}" / "model.safetensors"
        path.parent.mkdir()
        write_safetensors(path, small(step / 1000))
    write_safetensors(tmp_path / "model.safetensors", small(1))

    opened = survey(tmp_path)

    assert [c.step for c in opened.checkpoints] == [500, 1000]
    assert any("model.safetensors" in note for note in opened.notes)


# Several formats, shards


def test_files_of_several_formats_are_an_error_that_names_them(folder: Path) -> None:
    write_safetensors(folder / "epoch_4.safetensors", small(1))

    text = problem(folder)

    assert text == (
        f"{folder}: files of several formats (safetensors: epoch_4.safetensors; "
        "torch: epoch_1.pt, epoch_2.pt, epoch_3.pt); choose one with --reader, "
        "or make one run of them with --map FILE "
        "(accweight inspect SOURCE --write-map FILE proposes one)"
    )
    with pytest.raises(MismatchError):
        survey(folder)
    of_torch, other = (survey(folder, Selection(reader=n)) for n in ("torch", "safetensors"))
    assert paths(of_torch, folder) == EPOCHS
    assert paths(other, folder) == ["epoch_4.safetensors"]


def test_a_reader_that_cannot_read_a_named_file_says_so(folder: Path) -> None:
    text = problem(folder / "epoch_1.pt", reader="safetensors")

    assert text.startswith(f"{folder / 'epoch_1.pt'}: not a safetensors file")


def test_shards_are_not_listed_beside_their_index(tmp_path: Path) -> None:
    for step in (500, 1000):
        index = tmp_path / f"checkpoint-{step}" / "model.safetensors.index.json"
        write_sharded(index, small(step / 1000))

    opened = survey(tmp_path)

    assert paths(opened, tmp_path) == [
        "checkpoint-500/model.safetensors.index.json",
        "checkpoint-1000/model.safetensors.index.json",
    ]
    assert set(opened.checkpoints[0].tensors) == {"fc.weight", "fc.bias"}


def test_shards_named_one_by_one_beside_their_index_are_one_checkpoint(tmp_path: Path) -> None:
    write_sharded(tmp_path / "model.safetensors.index.json", small())

    opened = survey(sorted(tmp_path.iterdir()))

    assert paths(opened, tmp_path) == ["model.safetensors.index.json"]


def test_some_shards_without_their_index_are_an_error_that_says_so(tmp_path: Path) -> None:
    index = write_sharded(tmp_path / "checkpoint-1" / "model.safetensors.index.json", small())
    index.unlink()
    (index.parent / "model-00001-of-00002.safetensors").unlink()

    text = problem(tmp_path)

    assert "'model-00001-of-00002.safetensors' is missing" in text


def test_a_glob_of_shards_is_a_run_of_the_whole_checkpoints(tmp_path: Path) -> None:
    for step in (1, 2):
        write_sharded(tmp_path / f"checkpoint-{step}" / "model.safetensors.index.json", small(step))

    opened = survey(f"{tmp_path}/checkpoint-*/*.safetensors")

    assert paths(opened, tmp_path) == [
        f"checkpoint-{step}/model-00001-of-00002.safetensors" for step in (1, 2)
    ]
    assert set(opened.checkpoints[0].tensors) == {"fc.weight", "fc.bias"}


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    index = write_sharded(tmp_path / "model.safetensors.index.json", small())
    (tmp_path / "model-00002-of-00002.safetensors").unlink()

    text = problem(tmp_path)

    assert text.startswith(f"{index}: its shard 'model-00002-of-00002.safetensors' is missing")


# Damaged files in a folder: named, and --exclude helps


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty (0 bytes); was the save interrupted?"),
        (
            LFS_POINTER,
            "this is a Git LFS pointer, not the file itself; fetch it with: git lfs pull",
        ),
        (b"<html>404</html>", "no reader recognises its content, it is a page of HTML, such as"),
        (
            b"\x80\x04}q\x00.",
            "no reader recognises its content, it is a pickle in which no weights",
        ),
    ],
    ids=["empty", "pointer", "html", "plain pickle"],
)
def test_a_file_that_is_no_checkpoint_is_named_and_can_be_excluded(
    folder: Path, content: bytes, expected: str
) -> None:
    (folder / "epoch_4.pt").write_bytes(content)

    text = problem(folder)

    assert text.startswith(f"{folder / 'epoch_4.pt'}: {expected}")
    assert paths(survey(folder, Selection.of(exclude=["epoch_4.pt"])), folder) == EPOCHS


def test_a_truncated_file_is_named_and_can_be_excluded(folder: Path) -> None:
    path = folder / "epoch_3.pt"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])

    text = problem(folder)

    assert text.startswith(f"{path}: its zip directory is missing or damaged")
    assert "probably cut short" in text
    assert paths(survey(folder, Selection.of(exclude=["epoch_3*"])), folder) == EPOCHS[:2]


def test_a_damaged_file_says_how_to_go_on_without_it(folder: Path) -> None:
    (folder / "epoch_4.pt").write_bytes(b"garbage")

    assert "--exclude 'epoch_4.pt'" in problem(folder)


def test_excluding_takes_names_patterns_and_paths(tmp_path: Path) -> None:
    write_small_run(tmp_path, [f"checkpoint-{n}/model.pt" for n in (1, 2, 3)])

    for pattern in ("checkpoint-2/model.pt", "checkpoint-2/*", f"{tmp_path}/checkpoint-2/model.pt"):
        opened = survey(tmp_path, Selection(exclude=(pattern,)))
        assert [c.step for c in opened.checkpoints] == [1, 3], pattern


def test_one_pattern_may_be_given_as_plain_text(folder: Path) -> None:
    assert paths(survey(folder, Selection.of(exclude="epoch_1*")), folder) == EPOCHS[1:]


def test_excluding_everything_is_said(folder: Path) -> None:
    assert "no checkpoints found" in problem(folder, exclude=["*"])


# Odd names, links, permissions


@pytest.mark.parametrize(
    "stem",
    ["my run", "prøve", "走", "a\x1b[31mred", "a\nb", "a'b\"c", "-rf", "run[1]", "$HOME", "a;b"],
)
def test_files_of_any_name_are_found(tmp_path: Path, stem: str) -> None:
    names = [f"{stem}/{stem}_{number}.pt" for number in (1, 2)]
    write_small_run(tmp_path, names)

    assert paths(survey(tmp_path / stem), tmp_path) == names
    assert paths(survey([tmp_path / name for name in names]), tmp_path) == names


@pytest.mark.skipif(sys.platform != "linux", reason="file names that are not text need Linux")
def test_files_whose_names_are_not_text_are_found(tmp_path: Path) -> None:
    for number in (1, 2):
        torch.save(small(number), tmp_path / "plain.pt")
        os.rename(tmp_path / "plain.pt", os.fsencode(tmp_path) + b"/a\xff_%d.pt" % number)

    assert [c.step for c in survey(tmp_path).checkpoints] == [1, 2]


def test_a_link_to_a_checkpoint_beside_it_is_the_same_checkpoint(folder: Path) -> None:
    (folder / "last.pt").symlink_to("epoch_3.pt")

    opened = survey(folder)

    assert [c.step for c in opened.checkpoints] == [1, 2, 3]


def test_a_link_to_a_folder_beside_it_is_the_same_folder(tmp_path: Path) -> None:
    write_small_run(tmp_path / "version_1", EPOCHS)
    (tmp_path / "latest").symlink_to("version_1")

    assert [c.step for c in survey(tmp_path).checkpoints] == [1, 2, 3]


def test_a_link_to_the_folder_itself_does_not_loop(folder: Path) -> None:
    (folder / "again").symlink_to(folder)

    assert paths(survey(folder), folder) == EPOCHS
    assert [c.step for c in survey(folder / "again").checkpoints] == [1, 2, 3]


def test_a_link_to_nowhere_is_a_lost_step_and_named(folder: Path) -> None:
    (folder / "epoch_4.pt").symlink_to("gone.pt")

    assert "epoch_4.pt" in problem(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that cannot be read by anyone")
def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "epoch_4.pt").symlink_to("/proc/self/mem")

    text = problem(folder)

    assert text.startswith(f"{folder / 'epoch_4.pt'}: cannot be read")
    with pytest.raises(FormatError):
        survey(folder)
    assert paths(survey(folder, Selection.of(exclude=["epoch_4.pt"])), folder) == EPOCHS


def test_a_name_longer_than_the_system_allows_is_not_there(tmp_path: Path) -> None:
    assert "x" * 300 in problem(tmp_path / ("x" * 300))


def test_folders_that_look_like_files_are_passed_over(folder: Path) -> None:
    (folder / "epoch_9.pt").mkdir()

    assert paths(survey(folder), folder) == EPOCHS


def test_a_folder_named_by_nothing_is_not_the_current_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)

    with pytest.raises(AccweightError):
        survey("")


def test_json_that_is_no_index_is_passed_over(tmp_path: Path) -> None:
    write_small_run(tmp_path, [f"checkpoint-{n}/pytorch_model.bin" for n in (1, 2)])
    for number in (1, 2):
        state = tmp_path / f"checkpoint-{number}" / "trainer_state.json"
        state.write_text(json.dumps({"global_step": number}))

    opened = survey(tmp_path)

    assert [c.step for c in opened.checkpoints] == [1, 2]
    assert opened.notes == ()
