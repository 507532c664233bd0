"""The search of a folder: how deep, how far, what is not looked at, folders of arrays."""

from __future__ import annotations

from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from checkpoints import small, write_small_run

import accweight_core as aw
from accweight_core.errors import FormatError, SourceError
from accweight_core.runs import search
from accweight_core.runs.inspection import inspected
from accweight_core.runs.opening import survey

EPOCHS = ["epoch_1.pt", "epoch_2.pt", "epoch_10.pt"]


def arrays(folder: Path, **values: float) -> None:
    """Write a folder with an array per name; a double underscore stands for a folder."""
    for name, value in values.items():
        path = folder / f"{name.replace('__', '/')}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (4, 3) if name.endswith("W") else (4,)
        np.save(path, np.full(shape, value, "f4"))


def test_a_run_is_found_at_any_depth(tmp_path: Path) -> None:
    deep = tmp_path / "/".join("abcdefgh")
    write_small_run(deep, EPOCHS)

    assert [c.step for c in survey(tmp_path).checkpoints] == [1, 2, 10]


def test_the_search_says_where_it_stopped_in_depth(tmp_path: Path) -> None:
    write_small_run(tmp_path, EPOCHS)
    write_small_run(tmp_path / "/".join("x" * (search.DEEPEST + 1)), EPOCHS)

    notes = survey(tmp_path).notes

    assert len(notes) == 1
    assert notes[0].startswith(f"folders more than {search.DEEPEST} levels deep were not searched")


def test_the_search_stops_after_many_folders_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_FOLDERS", (5, 5))
    write_small_run(tmp_path, EPOCHS)
    for number in range(20):
        (tmp_path / f"empty_{number}").mkdir()

    notes = inspected(tmp_path).opened.notes

    assert any("the search stopped before" in note and "after 5 folders" in note for note in notes)


def test_many_files_of_other_programs_are_not_all_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_OPENED", (3, 3))
    write_small_run(tmp_path, EPOCHS)
    for number in range(10):
        (tmp_path / f"meta_{number}.json").write_text("{}")

    opened = survey(tmp_path)

    assert [c.step for c in opened.checkpoints] == [1, 2, 10]
    assert any("more than 3 files that may be something else" in note for note in opened.notes)


def test_links_out_of_the_folder_are_followed_once(tmp_path: Path) -> None:
    write_small_run(tmp_path / "store" / "run", EPOCHS)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "first").symlink_to(tmp_path / "store")
    (tmp_path / "here" / "second").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "back").symlink_to(tmp_path / "here")

    assert [c.step for c in survey(tmp_path / "here").checkpoints] == [1, 2, 10]


LINKS: dict[str, dict[str, str]] = {
    "to the folder itself": {"run/loop": "run"},
    "to the folder above": {"run/a/up": "run"},
    "to each other": {"run/a/b": "run/b", "run/b/a": "run/a"},
    "out and back": {"run/out": "store", "store/back": "run"},
    "out, in a circle": {"run/out": "store", "store/round": "store"},
    "out, to each other": {"run/out": "store", "store/c": "other", "other/d": "store"},
    "above the source": {"run/above": "."},
    "two to one place": {"run/first": "store", "run/second": "store"},
    "one inside another": {"run/whole": "store", "run/part": "store/deep"},
    "to a folder of the run": {"run/again": "run/a"},
}
"""Links, and what they lead to, beside the run."""


@pytest.mark.parametrize("name", LINKS)
def test_no_link_makes_the_search_go_round_or_find_a_file_twice(tmp_path: Path, name: str) -> None:
    for folder in ("run/a", "run/b", "store/deep", "other"):
        (tmp_path / folder).mkdir(parents=True)
    write_small_run(tmp_path / "run", EPOCHS)
    for link, target in LINKS[name].items():
        (tmp_path / link).symlink_to(tmp_path / target, target_is_directory=True)

    opened = survey(tmp_path / "run")

    assert [Path(c.path).name for c in opened.checkpoints] == EPOCHS
    assert opened.notes == ()


def test_a_run_behind_a_link_that_leads_out_is_found_once(tmp_path: Path) -> None:
    write_small_run(tmp_path / "store" / "deep", EPOCHS)
    (tmp_path / "run").mkdir()
    for link, target in (("whole", "store"), ("part", "store/deep"), ("loop", "run")):
        (tmp_path / "run" / link).symlink_to(tmp_path / target)
    (tmp_path / "store" / "back").symlink_to(tmp_path / "run")

    opened = survey(tmp_path / "run")

    assert [c.step for c in opened.checkpoints] == [1, 2, 10]


def test_a_broken_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    write_small_run(tmp_path, EPOCHS)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")

    assert [c.step for c in survey(tmp_path).checkpoints] == [1, 2, 10]


def test_the_cache_of_the_hub_is_read_by_its_snapshots(tmp_path: Path) -> None:
    cache = tmp_path / "models--org--net"
    for folder in ("blobs", "snapshots/1a2b3c4", "snapshots/9f8e7d6"):
        (cache / folder).mkdir(parents=True)
    for number, revision in enumerate(("1a2b3c4", "9f8e7d6")):
        blob = cache / "blobs" / (f"{number}" * 8)
        torch.save(small(number), blob)
        (cache / "snapshots" / revision / "model.bin").symlink_to(blob)

    folder = "models--org--net/snapshots"
    assert [series.name for series in aw.series_of(tmp_path)] == [
        f"{folder}/1a2b3c4",
        f"{folder}/9f8e7d6",
    ]


def test_the_file_is_kept_and_not_the_link_to_it(tmp_path: Path) -> None:
    folder = write_small_run(tmp_path, EPOCHS)
    (folder / "best.pt").symlink_to("epoch_10.pt")

    opened = survey(folder)

    assert [Path(c.path).name for c in opened.checkpoints] == EPOCHS
    assert opened.notes == ("best.pt left out: a link to epoch_10.pt",)


def test_a_folder_below_that_cannot_be_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_small_run(tmp_path, EPOCHS)
    (folder / "locked").mkdir()
    listed = type(folder).iterdir

    def refusing(path: Path) -> object:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(type(folder), "iterdir", refusing)

    assert "locked left out: cannot be read (Permission denied)" in survey(folder).notes


def test_series_at_a_store_are_listed_as_in_a_folder(tmp_path: Path) -> None:
    names = [f"{run}/ckpts/epoch_{n}.pt" for run in "ab" for n in (1, 10, 2)]
    write_small_run(tmp_path, names)
    store = fsspec.filesystem("memory")
    for name in names:
        store.pipe(f"/series/{name}", (tmp_path / name).read_bytes())

    found = {s.name: [p.step for p in s.placed] for s in aw.series_of("memory://series")}

    assert found == {"a/ckpts": [1, 2, 10], "b/ckpts": [1, 2, 10]}
    assert [c.step for c in aw.open_run("memory://series", series="a/ckpts").checkpoints] == [
        1,
        2,
        10,
    ]


# Folders of arrays


def test_folders_of_arrays_are_one_checkpoint_each(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        arrays(tmp_path / f"step_{step}", W=step, b=step)

    run = aw.open_run(tmp_path)
    analysis = aw.analyze(run, tmp_path / "run.accw")

    assert [(c.step, Path(c.path).name) for c in run.checkpoints] == [
        (1, "step_1"),
        (2, "step_2"),
        (10, "step_10"),
    ]
    assert [(p.name, p.shape) for p in run.parameters] == [("W", (4, 3)), ("b", (4,))]
    np.testing.assert_array_equal(aw.open_analysis(tmp_path / "run.accw").cumulative("W"), 9)
    assert analysis.ranking()["mean"].tolist() == [9]


def test_arrays_in_folders_of_a_folder_have_dotted_names(tmp_path: Path) -> None:
    for step in (1, 2):
        arrays(tmp_path / str(step), layer1__W=step, layer1__b=step, layer2__W=step)

    run = aw.open_run(tmp_path)

    assert [p.name for p in run.parameters] == ["layer1.W", "layer1.b", "layer2.W"]
    assert [layer.name for layer in run.layers] == ["layer1", "layer2"]


def test_numbers_among_the_arrays_are_step_and_measures(tmp_path: Path) -> None:
    for number in (1, 2):
        arrays(tmp_path / f"step_{number}", W=number, b=number)
        np.save(tmp_path / f"step_{number}" / "loss.npy", np.float32(0.5 / number))
        np.save(tmp_path / f"step_{number}" / "step.npy", np.int64(100 * number))

    opened = survey(tmp_path)

    assert [(c.step, c.step_source) for c in opened.checkpoints] == [
        (100, "in file: step"),
        (200, "in file: step"),
    ]
    assert [c.measures for c in opened.checkpoints] == [{"loss": 0.5}, {"loss": 0.25}]


def test_the_folder_of_one_step_is_one_checkpoint(tmp_path: Path) -> None:
    arrays(tmp_path / "step_30", W=1, b=1)

    assert [(c.step, c.format) for c in survey(tmp_path / "step_30").checkpoints] == [
        (30, "NumPy arrays")
    ]


def test_arrays_that_are_steps_themselves_stay_so(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        arrays(tmp_path / "run_1", **{f"w_{step}": step})
        arrays(tmp_path / "run_2", **{f"w_{step}": step})

    found = {s.name: [p.step for p in s.placed] for s in aw.series_of(tmp_path)}

    assert found == {"run_1": [1, 2, 10], "run_2": [1, 2, 10]}


def test_a_truncated_array_of_a_folder_is_named(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        arrays(tmp_path / f"step_{step}", W=step, b=step)
    path = tmp_path / "step_2" / "W.npy"
    path.write_bytes(path.read_bytes()[:-5])

    with pytest.raises(FormatError, match=r"step_2/W\.npy: an array of shape .* is cut short"):
        aw.open_run(tmp_path)


def test_objects_in_a_folder_of_arrays_are_left_out_with_a_note(tmp_path: Path) -> None:
    for step in (1, 2):
        arrays(tmp_path / f"step_{step}", W=step, b=step)
        np.save(tmp_path / f"step_{step}" / "names.npy", np.array(["a", "b"]))

    assert "2 checkpoints: left out 'names': text" in aw.open_run(tmp_path).notes


def test_an_empty_folder_is_told_as_ever(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)

    with pytest.raises(SourceError, match="no checkpoints found"):
        survey(tmp_path)


@pytest.mark.parametrize("name", ["net.{}.pyth", "ckpt_{}.t7", "net.{:04d}", "net_{}.mine"])
def test_files_are_read_by_their_content_whatever_their_ending(tmp_path: Path, name: str) -> None:
    for step in (1, 2, 10):
        torch.save(small(step), tmp_path / name.format(step))
    (tmp_path / "net_3.mine.tmp").write_bytes((tmp_path / name.format(1)).read_bytes())
    (tmp_path / "notes.rst").write_text("what was tried")

    assert [c.step for c in survey(tmp_path).checkpoints] == [1, 2, 10]


def test_files_of_unknown_endings_are_not_opened_beside_checkpoints(tmp_path: Path) -> None:
    for name in ("net_1.pt", "net_2.pt", "other_1.mine", "other_2.mine"):
        torch.save(small(), tmp_path / name)

    assert [c.step for c in survey(tmp_path).checkpoints] == [1, 2]


def test_what_lies_in_hidden_folders_is_not_found(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    torch.save(small(), tmp_path / ".git" / "epoch_1.pt")

    with pytest.raises(SourceError, match="no checkpoints found"):
        survey(tmp_path)
