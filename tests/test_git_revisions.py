"""Runs whose checkpoints are revisions of a local git repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from git_repositories import Repository, keep_large_file, pointer_to, weights

import accweight_core as aw
from accweight_core.cli.app import run as cli
from accweight_core.errors import FormatError, MissingLibraryError, SourceError, StepOrderError
from accweight_core.remote import path_at, revision_of


@pytest.fixture
def tagged(tmp_path: Path) -> Repository:
    """Return a repository whose only file is rewritten by four commits with tags."""
    repository = Repository(tmp_path / "run")
    for index, step in enumerate((500, 1000, 2000, 10000)):
        repository.commit({"model.npz": weights(index, tmp_path), "README.md": b"a run"})
        repository.git("tag", f"step{step}", *(["-a", "-m", "annotated"] if index % 2 else []))
    return repository


def steps_of(run: aw.Run) -> list[int]:
    return [checkpoint.step for checkpoint in run.checkpoints]


def path_length(run: aw.Run) -> float:
    return float(aw.analyze(run).cumulative("fc.weight").mean())


# --- revisions by name ---------------------------------------------------------------------------


def test_light_and_annotated_tags_are_checkpoints_in_the_order_of_their_numbers(
    tagged: Repository,
) -> None:
    run = aw.open_run(f"git:{tagged.folder}", revisions="step*")

    assert steps_of(run) == [500, 1000, 2000, 10000]
    assert run.checkpoints[0].step_source == "revision step500"
    assert path_length(run) == pytest.approx(3.0)


def test_branches_are_checkpoints_whatever_is_checked_out(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "run")
    repository.commit({"model.npz": weights(0, tmp_path)})
    for index, name in enumerate(("stage1-step1000-tokens4B", "stage1-step2000-tokens8B")):
        repository.git("checkout", "--quiet", "-b", name)
        repository.commit({"model.npz": weights(index + 1, tmp_path)})
    repository.git("checkout", "--quiet", "main")

    run = aw.open_run(f"git:{repository.folder}", revisions="stage1-*")

    assert steps_of(run) == [1000, 2000]
    assert path_length(run) == pytest.approx(1.0)


def test_names_without_a_number_are_in_the_order_of_the_commits(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "run")
    for index, name in enumerate(("zebra", "apple", "mango")):
        repository.commit({"model.npz": weights(index, tmp_path)}, second=7)  # at one time
        repository.git("tag", name)

    run = aw.open_run(f"git:{repository.folder}", revisions="[!m]*")

    assert [c.step_source.split(",")[0] for c in run.checkpoints] == [
        "revision zebra", "revision apple",
    ]  # fmt: skip
    assert steps_of(run) == [0, 1]


@pytest.mark.parametrize("packed", [False, True])
def test_packed_objects_and_references_are_read_too(packed: bool, tagged: Repository) -> None:
    if packed:
        tagged.git("gc", "--quiet", "--aggressive")
        assert not list((tagged.folder / ".git" / "refs" / "tags").iterdir())

    assert path_length(aw.open_run(f"git:{tagged.folder}", revisions="*")) == pytest.approx(3.0)


def test_a_process_that_has_read_packed_objects_ends_in_silence(tagged: Repository) -> None:
    tagged.git("gc", "--quiet")
    asked = ["inspect", f"git:{tagged.folder}", "--revisions", "*"]

    ended = subprocess.run(
        [sys.executable, "-m", "accweight_core", *asked], capture_output=True, check=False
    )

    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize(
    "how", [("--bare",), ("--shared",), ("--depth", "9", "--no-single-branch"), ()]
)
def test_clones_have_the_revisions_of_their_origin(
    how: tuple[str, ...], tagged: Repository, tmp_path: Path
) -> None:
    tagged.git("branch", "step20000", "step1000")
    tagged.git("clone", "--quiet", *how, f"file://{tagged.folder}"
               if "--depth" in how else str(tagged.folder), str(tmp_path / "clone"))  # fmt: skip

    run = aw.open_run(f"git:{tmp_path / 'clone'}", revisions="step?*00")

    assert steps_of(run) == [500, 1000, 2000, 10000]  # and step20000 is the commit of step1000
    assert any("step20000 left out: the same commit as step1000" in note for note in run.notes)


def test_another_working_tree_and_other_hashes_are_read(tagged: Repository, tmp_path: Path) -> None:
    tagged.git("worktree", "add", "--quiet", str(tmp_path / "tree"), "step1000")

    assert len(aw.open_run(f"git:{tmp_path / 'tree'}", revisions="step*").checkpoints) == 4
    assert len(aw.open_run(f"git:{tmp_path / 'tree'}/model.npz").checkpoints) == 2


def test_two_branches_of_one_step_are_told_with_what_to_do(
    tagged: Repository, tmp_path: Path
) -> None:
    for index, name in enumerate(("left/step7", "right/step7", "right/step8")):
        tagged.commit({"model.npz": weights(20 + index, tmp_path)})
        tagged.git("tag", name)

    with pytest.raises(StepOrderError, match=r"left/step7 and right/step7; take one .*revisions="):
        aw.open_run(f"git:{tagged.folder}", revisions="*/step?")
    run = aw.open_run(f"git:{tagged.folder}", revisions="*/step?", in_given_order=True)
    assert steps_of(run) == [0, 1, 2]


def test_one_revision_is_a_folder_of_its_own(tagged: Repository, tmp_path: Path) -> None:
    tagged.commit({"epoch_1.npz": weights(1, tmp_path), "epoch_2.npz": weights(3, tmp_path)})

    run = aw.open_run([f"git:{tagged.folder}@main:epoch_1.npz", f"git:{tagged.folder}:epoch_2.npz"])
    one = aw.open_run(f"git:{tagged.folder}@step1000")

    assert steps_of(run) == [1, 2]
    assert one.checkpoints[0].path.endswith("/model.npz")
    assert steps_of(one) == [1000]


def test_a_branch_with_a_slash_and_a_folder_in_the_repository_are_told_apart(
    tmp_path: Path,
) -> None:
    repository = Repository(tmp_path / "a@b" / "run@1")
    commit = repository.commit({"deep/model.npz": weights(0, tmp_path)})
    repository.git("branch", "try/new")
    written = f"git:{repository.folder}@try/new"

    paths = [path_at(f"{written}/deep/model.npz"), path_at(f"{written}:deep/model.npz")]

    assert [str(p) for p in paths] == [f"git://{repository.folder}@{commit}/deep/model.npz"] * 2
    assert revision_of(paths[0]) == revision_of(paths[1])
    assert path_at(str(paths[0])).read_bytes() == weights(0, tmp_path)


def test_the_file_at_every_revision_is_a_series_where_each_has_several(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "gan")
    for index in range(3):
        files = {"G.npz": weights(index, tmp_path), "D.npz": weights(2 * index, tmp_path)}
        repository.commit(files)
        repository.git("tag", f"v{index + 1}")

    found = aw.series_of(f"git:{repository.folder}", revisions="v*")
    run = aw.open_run(f"git:{repository.folder}", revisions="v*", series="D.npz")

    assert [(one.name, one.steps) for one in found] == [("D.npz", (1, 2, 3)), ("G.npz", (1, 2, 3))]
    assert path_length(run) == pytest.approx(4.0)


def test_revisions_with_the_same_files_are_read_once_and_said(
    tagged: Repository, tmp_path: Path
) -> None:
    tagged.commit({"README.md": b"published"})  # main: another commit, the same weights
    tagged.commit({"model.npz": weights(9, tmp_path)})
    tagged.git("branch", "published", "HEAD~1")
    tagged.git("tag", "step2001", "step2000")
    tagged.git("checkout", "--quiet", "--detach", "step2000")
    tagged.commit({"README.md": b"again"})
    tagged.git("tag", "step2500")

    run = aw.open_run(f"git:{tagged.folder}", revisions="[ps]*")

    assert steps_of(run) == [500, 1000, 2000, 10000]
    assert set(run.notes) >= {
        "published left out: the same files as step10000",
        "step2500 left out: the same files as step2000",
        "step2001 left out: the same commit as step2000",
    }


# --- the history of a file -----------------------------------------------------------------------


@pytest.mark.parametrize("written", ["git:{}:model.npz", "git:{}/model.npz", "git:{}/./model.npz"])
def test_every_commit_that_changed_a_file_is_a_checkpoint(written: str, tagged: Repository) -> None:
    tagged.commit({"README.md": b"no new weights"})

    run = aw.open_run(written.format(tagged.folder))

    ids = [tagged.git("rev-parse", tag)[:7] for tag in ("step500", "step1000^{commit}")]
    assert steps_of(run) == [0, 1, 2, 3]
    assert [c.step_source for c in run.checkpoints[:2]] == [f"commit {short}" for short in ids]
    assert path_length(run) == pytest.approx(3.0)


def test_weights_that_come_back_have_moved_there_and_back(
    tagged: Repository, tmp_path: Path
) -> None:
    tagged.commit({"model.npz": weights(0, tmp_path)})

    assert path_length(aw.open_run(f"git:{tagged.folder}:model.npz")) == pytest.approx(6.0)


def test_a_relative_path_is_of_the_working_folder(
    tagged: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tagged.folder / "sub").mkdir()
    monkeypatch.chdir(tagged.folder / "sub")

    assert len(aw.open_run("git:../model.npz").checkpoints) == 4
    monkeypatch.chdir(tagged.folder.parent)
    assert len(aw.open_run("git:run:model.npz").checkpoints) == 4


def test_a_broken_commit_is_left_out_with_a_note(tagged: Repository, tmp_path: Path) -> None:
    broken = tagged.commit({"model.npz": weights(5, tmp_path)[:300]})
    tagged.commit({"model.npz": weights(4, tmp_path)})

    run = aw.open_run(f"git:{tagged.folder}:model.npz")

    assert steps_of(run) == [0, 1, 2, 3, 4]
    assert any(note.startswith(f"{broken[:7]}:model.npz left out: ") for note in run.notes)


# --- analyses ------------------------------------------------------------------------------------


def test_exact_values_are_read_from_the_commits_of_then(tagged: Repository, tmp_path: Path) -> None:
    out = tmp_path / "run.accw"
    aw.analyze(aw.open_run(f"git:{tagged.folder}", revisions="step*"), out)
    tagged.git("tag", "--force", "step500", "step10000")
    (tagged.folder / "model.npz").unlink()

    values = aw.open_analysis(out).cumulative("fc.weight")

    np.testing.assert_allclose(values, 3.0)


def test_a_branch_that_moved_is_said_where_the_analysis_goes_on(
    tagged: Repository, tmp_path: Path
) -> None:
    out, said = tmp_path / "run.accw", list[str]()
    was = tagged.git("rev-parse", "step500")
    aw.analyze(aw.open_run(f"git:{tagged.folder}", revisions="step?*00"), out, keep_state=True)
    tagged.git("tag", "--force", "step500", tagged.commit({"model.npz": weights(7, tmp_path)}))
    now = tagged.commit({"model.npz": weights(9, tmp_path)})
    tagged.git("tag", "step20000")

    run = aw.open_run(f"git:{tagged.folder}", revisions="step*")
    analysis = aw.append(run, out, notice=said.append)

    assert [c.step for c in run.checkpoints][-1] == 20000
    is_now = tagged.git("rev-parse", f"{now}~1")
    moved = f"revision step500 has moved from {was[:7]} to {is_now[:7]} since it was analysed"
    assert said == [f"{moved}; the analysis keeps {was[:7]}"]
    np.testing.assert_allclose(analysis.cumulative("fc.weight"), 9.0)


def test_a_commit_that_is_gone_is_missing_where_exact_values_need_it(
    tagged: Repository, tmp_path: Path
) -> None:
    out = tmp_path / "run.accw"
    aw.analyze(aw.open_run(f"git:{tagged.folder}", revisions="step*"), out)
    commit = tagged.git("rev-parse", "step10000^{commit}")
    (tagged.folder / ".git" / "objects" / commit[:2] / commit[2:]).unlink()

    with pytest.raises(SourceError, match="the checkpoint of step 10000 is missing"):
        aw.open_analysis(out).cumulative("fc.weight")


def test_commands_take_revisions(tagged: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("inspect", "check"):
        assert cli([command, f"git:{tagged.folder}", "--revisions", "step*"]) == 0
    out = capsys.readouterr().out
    assert "10000  revision step10000" in out
    commit = tagged.git("rev-parse", "step500")
    assert commit not in out
    assert f"run@{commit[:7]}/model.npz" in out


# --- large files ---------------------------------------------------------------------------------


def test_a_large_file_is_read_where_git_lfs_keeps_it(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "run")
    for index in range(3):
        content = weights(index, tmp_path)
        keep_large_file(repository, content)
        repository.commit({"model.npz": pointer_to(content)})
        repository.git("tag", f"step{index}")

    assert path_length(aw.open_run(f"git:{repository.folder}", revisions="*")) == pytest.approx(2)
    assert path_length(aw.open_run(f"git:{repository.folder}:model.npz")) == pytest.approx(2)


@pytest.mark.parametrize("damage", ["absent", "short"])
@pytest.mark.parametrize("source", ["", ":model.npz"])
def test_a_pointer_without_its_file_is_named_with_the_command_that_fetches_it(
    source: str, damage: str, tmp_path: Path
) -> None:
    repository = Repository(tmp_path / "run")
    for index in range(2):
        content = weights(index, tmp_path)
        path = keep_large_file(repository, content)
        repository.commit({"model.npz": pointer_to(content)})
        repository.git("tag", f"step{index}")
    path.unlink() if damage == "absent" else path.write_bytes(b"PK")

    with pytest.raises((SourceError, FormatError)) as caught:
        aw.open_run(f"git:{repository.folder}{source}", revisions="step*")

    assert "a pointer of git-lfs to " in str(caught.value)
    assert "git lfs fetch --all" in str(caught.value)
    assert "\n" not in str(caught.value)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "revisions", "said"),
    [
        ("git:{}", "epoch*", "no branch or tag is called 'epoch*'; there are main, step"),
        ("git:{}@step500", "step*", "names a revision, 'step500', and revisions=PATTERN"),
        ("git:{}@nothing", None, "there is no revision 'nothing' with a commit"),
        ("git:{}@../../etc", None, "there is no revision '../../etc' with a commit"),
        ("git:{}@a\x1b[31m", None, r"there is no revision 'a\x1b[31m' with a commit"),
        ("git:{}:../../etc/passwd", None, "the name of the file leads out of the repository"),
        ("git:{}:other.npz", None, "there is no such file or folder"),
        ("git:{}/../..", None, "leads out of the repository"),
        ("git:https://me:secret@host/run.git", None, "reads repositories on this machine"),
        ("{}", "step*", "revisions=PATTERN needs a repository: hf://NAME or git:FOLDER"),
        ("{}/x\0", None, ""),
        ("git:{}/x\0", None, ""),
    ],
)
def test_what_is_no_revision_is_refused_in_one_line(
    source: str, revisions: str | None, said: str, tagged: Repository
) -> None:
    with pytest.raises(SourceError) as caught:
        aw.open_run(source.format(tagged.folder), revisions=revisions)

    message = str(caught.value)
    assert said in message
    assert message.isprintable()
    assert "secret" not in message


def test_a_damaged_file_at_a_revision_is_an_error_that_says_what_to_do(
    tagged: Repository, tmp_path: Path
) -> None:
    tagged.commit({"model.npz": weights(5, tmp_path)[:300]})
    tagged.git("tag", "step3000")

    with pytest.raises(FormatError, match=r"revision step3000 cannot be read: .* revisions=PAT"):
        aw.open_run(f"git:{tagged.folder}", revisions="step*")

    run = aw.open_run(f"git:{tagged.folder}", revisions="step[!3]*")
    assert steps_of(run) == [500, 1000, 2000, 10000]


def test_a_damaged_object_is_an_error_that_names_the_check(tagged: Repository) -> None:
    blob = tagged.git("rev-parse", "step1000:model.npz")
    path = tagged.folder / ".git" / "objects" / blob[:2] / blob[2:]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:40])

    with pytest.raises(
        (SourceError, FormatError), match="git fsck tells what is damaged"
    ) as caught:
        aw.open_run(f"git:{tagged.folder}", revisions="step*")

    assert "revision step1000" in str(caught.value)


def test_revisions_without_checkpoints_and_other_entries_are_left_out(
    tagged: Repository, tmp_path: Path
) -> None:
    (tagged.folder / "link.npz").symlink_to("/etc/passwd")
    (tagged.folder / "model.npz").unlink()
    tagged.commit({"README.md": b"weights removed"})
    tagged.git("tag", "step99")

    run = aw.open_run(f"git:{tagged.folder}", revisions="step*")

    assert steps_of(run) == [500, 1000, 2000, 10000]
    assert "step99 left out: no checkpoints at this revision" in run.notes


def test_a_tree_that_names_files_elsewhere_leads_nowhere(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "run")
    repository.commit({"model.npz": weights(0, tmp_path)})
    blob = repository.git("rev-parse", "HEAD:model.npz")
    listed = b"".join(
        b"100644 " + name + b"\0" + bytes.fromhex(blob)
        for name in (b"..", b"../../x.npz", b"a\x1b[31m.npz", b"model.npz", b"x::y.npz")
    )
    made = tmp_path / "tree"
    made.write_bytes(listed)
    tree = repository.git("hash-object", "-t", "tree", "-w", "--literally", str(made))
    commit = repository.git("commit-tree", tree, "-m", "hostile")

    root = path_at(f"git:{repository.folder}@{commit}")

    assert [entry.name for entry in root.iterdir()] == ["model.npz"]
    with pytest.raises(FormatError, match="names a file elsewhere"):
        root / "../../etc/passwd"


def test_dulwich_is_named_with_its_extra(
    tagged: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accweight_core.remote.git.repository import repository_at

    repository_at.cache_clear()
    monkeypatch.setitem(sys.modules, "dulwich.repo", None)

    with pytest.raises(MissingLibraryError, match=r"needs dulwich.*'accweight\[git\]'$"):
        aw.open_run(f"git:{tagged.folder}")
