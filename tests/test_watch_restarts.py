"""A watched job that is started again from an earlier step: what it does since is told apart.

Files and their times are all there is to tell it from, so the job here writes real ones, a second
apart, and every analysis has the numbers of `analyze` on the files that it is of.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from checkpoints import small
from test_cli import accweight
from test_store import edited
from test_watch import assert_same, watcher, weights
from thorough import THOROUGH

import accweight_core as aw
from accweight_core.errors import MismatchError, SourceError, StoreError
from accweight_core.jobs import restarts
from accweight_core.jobs.following import follow
from accweight_core.jobs.same_run import nothing_new
from accweight_core.jobs.watching import Watcher
from accweight_core.store.beginning import is_taken


def trained(step: int, since: int = 0, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the weights at a step of a job that has gone on from one of the first job."""
    chance = torch.Generator().manual_seed(1000 + seed)
    now = weights(since) if since or not seed else weights(0, seed)
    for _ in range(since, step):
        now = {n: t + 0.1 * torch.randn(t.shape, generator=chance) for n, t in now.items()}
    return now


class Job:
    """A job that writes a checkpoint a second, and keeps copies of what each attempt has written.

    Attributes:
        folder: The folder that is watched.
        attempts: Folder of the copies of each attempt, in order.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.attempts = folder / "job", [folder / "attempt_1"]
        self.folder.mkdir()
        self.attempts[0].mkdir()
        self._since, self._seed = 0, 0
        self._now = time.time() - 3600

    def write(self, *steps: int) -> None:
        """Write checkpoints, one after the other."""
        for step in steps:
            path = self.folder / f"epoch_{step}.pt"
            state = trained(step, self._since, self._seed)
            torch.save({"epoch": step, "state_dict": state}, path)
            self._stamp(path)
            shutil.copy2(path, self.attempts[-1])

    def restart(self, since: int, *, kept: int | None = None) -> None:
        """Start again from a step, of which a checkpoint is kept; from the beginning for 0."""
        self._since, self._seed = since, self._seed + 1
        self.attempts.append(self.folder.with_name(f"attempt_{self._seed + 1}"))
        self.attempts[-1].mkdir()
        if kept is not None:
            shutil.copy2(self.folder / f"epoch_{kept}.pt", self.attempts[-1])

    def touch(self, *steps: int) -> None:
        """Give checkpoints a later time."""
        for step in steps:
            self._stamp(self.folder / f"epoch_{step}.pt")

    def _stamp(self, path: Path) -> None:
        self._now += 1
        os.utime(path, (self._now, self._now))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run.accw"


def once(job: Job, out: Path, said: list[str] | None = None) -> Watcher:
    """Add what is there, as cron does: by a watcher that knows nothing but the analyses.

    Files settle as with the command: what is seen for the first time is not taken at once.
    """
    notice = [].append if said is None else said.append
    found = watcher(job.folder, out, settle_s=0.01, notice=notice)
    follow(found, once=True)
    return found


def words(text: str) -> str:
    """Return a text without the ends of its lines."""
    return " ".join(text.split())


def numbered(out: Path, *numbers: int) -> list[Path]:
    return [out, *(out.with_name(f"run-{number}.accw") for number in numbers)]


def check_attempts(
    job: Job, places: Sequence[Path], attempts: Sequence[Path] | None = None
) -> None:
    """Check that each analysis is that of what one attempt has written."""
    for place, attempt in zip(places, attempts or job.attempts, strict=True):
        expected = aw.analyze(attempt, attempt.with_suffix(".accw"), keep_state=True)
        assert_same(aw.open_analysis(place), expected)


LIVE: dict[str, Callable[[Watcher, Job, Path], Watcher]] = {
    "live": lambda found, job, out: found,
    "cron": lambda found, job, out: watcher(job.folder, out),
}


@pytest.mark.parametrize("how", LIVE)
@pytest.mark.parametrize("is_deleted", [False, True], ids=["kept", "deleted"])
@pytest.mark.parametrize("since", [0, 3])
def test_what_a_restarted_job_writes_is_an_analysis_of_its_own(
    job: Job, out: Path, since: int, how: str, is_deleted: bool
) -> None:
    found = watcher(job.folder, out)

    def write(*steps: int) -> None:
        nonlocal found
        for step in steps:
            found = LIVE[how](found, job, out)
            job.write(step)
            while found.look().added:
                pass
            if is_deleted and step != 3:  # from which it goes on
                (job.folder / f"epoch_{step}.pt").unlink()

    write(*range(7))
    job.restart(since, kept=since or None)
    write(*range(since + bool(since), 9))

    assert found.places == numbered(out, 2)
    check_attempts(job, found.places)
    assert found.analysis is not None
    assert found.analysis.path == found.places[-1]
    assert found.analysis.header.keeps_state


def test_all_is_told_from_disk_where_a_watcher_looks_once_in_a_while(job: Job, out: Path) -> None:
    job.write(*range(7))
    once(job, out)
    job.write(7, 8)  # nobody looks
    job.restart(3, kept=3)
    job.write(4, 5)
    once(job, out)
    assert [one.steps.tolist() for one in map(aw.open_analysis, numbered(out, 2))] == [
        list(range(9)),
        [3, 4, 5],  # 6 to 8 are of the first attempt
    ]

    job.write(*range(6, 11))
    once(job, out)
    job.restart(0)
    job.write(0, 1)
    found = once(job, out)

    assert found.places == numbered(out, 2, 3)
    check_attempts(job, found.places)


def test_a_comparison_of_both_says_why_they_begin_apart(job: Job, out: Path) -> None:
    job.write(*range(5))
    once(job, out)
    job.restart(3, kept=3)
    job.write(4, 5)

    before, since = map(aw.open_analysis, once(job, out).places)

    for pair, why in (((before, since), "b is what the job of a did"), ((since, before), "a is")):
        notes = [note for note in aw.compare(*pair).notes if "first checkpoints differ" in note]
        assert len(notes) == 1
        assert why in notes[0]
        assert "after it was restarted" in notes[0]


def test_an_analysis_that_is_deleted_meanwhile_is_begun_anew(job: Job, out: Path) -> None:
    said: list[str] = []
    found = watcher(job.folder, out, notice=said.append)
    job.write(*range(7))
    found.look()
    job.restart(3, kept=3)
    job.write(4, 5)
    assert found.look().added == (3, 4, 5)

    shutil.rmtree(found.places[-1])
    job.write(6, 7)
    while found.look().added:
        pass

    assert found.places == numbered(out, 2)
    check_attempts(job, found.places)
    assert any("run-2.accw is gone, so it is begun anew" in line for line in said)


def test_a_job_that_was_restarted_twice_between_two_looks_is_told_apart(
    job: Job, out: Path
) -> None:
    job.write(*range(7))
    once(job, out)
    job.restart(2, kept=2)
    job.write(3, 4, 5)
    job.restart(3, kept=3)  # of the second attempt
    job._since = 2
    job.write(4)

    said: list[str] = []
    found = once(job, out, said)

    assert found.places == numbered(out, 2, 3)
    steps = [aw.open_analysis(place).steps.tolist() for place in found.places]
    assert steps == [list(range(7)), [2, 3, 5], [3, 4]]  # 4 was written over
    assert len([line for line in said if "probably restarted" in line]) == 2


def test_a_job_that_goes_on_from_its_last_checkpoint_is_one_run(job: Job, out: Path) -> None:
    job.write(*range(4))
    once(job, out)
    job.write(4, 5)
    found = once(job, out)

    assert found.places == [out]
    check_attempts(job, found.places)


def _touched(job: Job) -> None:
    job.touch(4, 1, 6)


def _copied(job: Job) -> None:
    """As a copy of the folder that does not keep times, in the order of names."""
    for path in sorted(job.folder.iterdir()):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
        job.touch(int(path.stem.removeprefix("epoch_")))


def _repeated(job: Job) -> None:
    """As a job that repeats itself bit for bit; files have other bytes beside the weights."""
    for step in (4, 5, 6):
        path = job.folder / f"epoch_{step}.pt"
        torch.save({"epoch": step, "state_dict": trained(step), "note": "again"}, path)
        job.touch(step)


def _copy_beside(job: Job) -> None:
    shutil.copy(job.folder / "epoch_6.pt", job.folder / "last.pt")


@pytest.mark.parametrize("what", [_touched, _copied, _repeated, _copy_beside])
def test_files_that_hold_the_weights_that_were_measured_are_no_restart(
    job: Job, out: Path, what: Callable[[Job], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    job.write(*range(7))
    said: list[str] = []
    found = watcher(job.folder, out, notice=said.append)
    found.look()
    read: list[int] = []
    compared = restarts.is_as_measured

    def counted(checkpoint: aw.schema.Checkpoint, *rest: object) -> bool:
        read.append(checkpoint.step)
        return compared(checkpoint, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(restarts, "is_as_measured", counted)
    what(job)
    for _ in range(3):
        assert found.look().added == ()
    job.write(7)
    assert found.look().added == (7,)

    assert len(read) == len(set(read)), "each file is read once for it"
    assert not [line for line in said if "restarted" in line]
    assert found.places == [out]
    check_attempts(job, [out])


def test_a_job_goes_on_from_a_checkpoint_that_was_touched(job: Job, out: Path) -> None:
    job.write(*range(6))
    found = watcher(job.folder, out)
    found.look()
    job.touch(3)
    found.look()
    job.restart(3, kept=3)
    job.write(4, 5, 6)
    found.look()

    check_attempts(job, numbered(out, 2))


def test_a_checkpoint_that_is_gone_is_no_beginning_and_that_is_said(job: Job, out: Path) -> None:
    job.write(*range(6))
    once(job, out)
    job.restart(3)
    for step in range(4):
        (job.folder / f"epoch_{step}.pt").unlink()
    job.write(4, 5, 6)
    found = once(job, out)

    check_attempts(job, numbered(out, 2))
    assert found.analysis is not None
    (note,) = found.analysis.restarts
    assert note == (
        "the job was probably restarted: step 4 was written after step 5, the last one in "
        "run.accw; this analysis begins with step 4, as no checkpoint before it was there"
    )


def test_the_first_checkpoint_of_a_restarted_job_is_waited_for(job: Job, out: Path) -> None:
    job.write(*range(6))
    found = watcher(job.folder, out)
    found.look()
    job.restart(3, kept=3)
    job.write(4, 5)
    path = job.folder / "epoch_4.pt"
    content, state = path.read_bytes(), path.stat()
    path.write_bytes(content[:900])  # as if it were slower than the next one

    assert found.look().added == ()
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert found.look().added == (3, 4, 5)
    check_attempts(job, numbered(out, 2))


def test_a_job_that_saves_other_steps_is_told_too(job: Job, out: Path) -> None:
    job.write(0, 3, 6, 9)
    once(job, out)
    job.restart(3, kept=3)
    job.write(5, 7, 10)
    found = once(job, out)

    assert found.places == numbered(out, 2)
    check_attempts(job, found.places)


def test_another_network_in_the_same_folder_is_an_analysis_of_its_own(job: Job, out: Path) -> None:
    job.write(*range(4))
    once(job, out)
    for step in range(4):
        state = {"head.weight": torch.randn(7, 30) * (step + 1)}
        torch.save({"epoch": step, "state_dict": state}, job.folder / f"epoch_{step}.pt")
    found = once(job, out)

    assert found.analysis is not None
    assert found.analysis.path == numbered(out, 2)[1]
    assert [parameter.name for parameter in found.analysis.parameters] == ["head.weight"]


def test_a_job_that_fails_after_its_first_checkpoint_is_begun_anew(job: Job, out: Path) -> None:
    job.write(0)
    once(job, out)
    job.restart(0)
    job.write(0)
    said: list[str] = []
    once(job, out, said)
    job.write(1, 2)
    found = once(job, out)

    assert said[0] == (
        f"step 0, the only one, was written again, so the job was probably restarted: {out} is "
        "begun anew"
    )
    assert found.places == [out]
    check_attempts(job, [out], job.attempts[1:])


def test_a_restarted_job_that_fails_after_its_first_checkpoint_is_begun_anew(
    job: Job, out: Path
) -> None:
    job.write(*range(4))
    once(job, out)
    for _ in range(2):
        job.restart(0)
        job.write(0)
        once(job, out)
    job.write(1, 2)
    found = once(job, out)

    assert found.places == numbered(out, 2)
    check_attempts(job, found.places, [job.attempts[0], job.attempts[2]])


def test_a_name_that_is_taken_is_passed_over(job: Job, out: Path) -> None:
    own = numbered(out, 2)[1]
    job.write(*range(4))
    once(job, out)
    aw.analyze([weights(0), weights(1)], own)
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    job.restart(1, kept=1)
    job.write(2)
    once(job, out)
    job.write(3)
    found = once(job, out)

    assert found.places == numbered(out, 3)
    check_attempts(job, found.places)
    assert {path: path.read_bytes() for path in own.rglob("*") if path.is_file()} == before


def test_the_last_analysis_may_be_named_instead(job: Job, out: Path) -> None:
    job.write(*range(4))
    once(job, out)
    job.restart(1, kept=1)
    job.write(2)
    once(job, out)
    job.write(3)
    once(job, numbered(out, 2)[1])
    job.restart(0)
    job.write(0)
    once(job, numbered(out, 2)[1])

    assert once(job, out).places == numbered(out, 2, 3)
    check_attempts(job, numbered(out, 2, 3))


def test_an_analysis_of_another_run_in_its_place_is_not_gone_on_from(job: Job, out: Path) -> None:
    job.write(*range(4))
    once(job, out)
    job.restart(1, kept=1)
    job.write(2, 3)
    once(job, out)
    aw.analyze(job.folder, out, overwrite=True, keep_state=True)
    job.restart(2, kept=2)
    job.write(3)

    assert once(job, out).places == numbered(out, 3)


# --- watchers that are stopped ------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_watcher_that_is_killed_at_any_moment_goes_on_as_if_it_never_was(tmp_path: Path) -> None:
    driver = Path(__file__).with_name("killed_watching.py")
    every = 1 if THOROUGH else 9
    command = [sys.executable, str(driver), str(tmp_path), str(every)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["kills"] > 100 // every
    assert told["wrong"] == []


def test_an_analysis_that_was_begun_is_begun_anew_if_its_files_are_gone(
    job: Job, out: Path
) -> None:
    job.write(*range(6))
    once(job, out)
    job.restart(3)
    job.write(4)

    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watcher(job.folder, out, progress=stop, threads=1).look()
    assert is_taken(numbered(out, 2)[1])
    (job.folder / "epoch_3.pt").unlink()
    for step in range(3):
        (job.folder / f"epoch_{step}.pt").unlink()
    job.write(5)
    found = once(job, out)

    assert found.places == numbered(out, 2)
    check_attempts(job, found.places)


def test_a_process_that_watches_goes_over_to_the_next_analysis(job: Job, out: Path) -> None:
    job.write(*range(4))
    command = [sys.executable, "-m", "accweight_core", "watch", str(job.folder), "-o", str(out)]
    running = subprocess.Popen(
        [*command, "--settle", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    lines = [running.stdout.readline() for _ in range(4)]
    job.restart(1, kept=1)
    job.write(2)
    lines += [running.stdout.readline() for _ in range(2)]
    running.send_signal(signal.SIGTERM)
    rest, told = running.communicate()

    assert [line.split(":")[0] for line in lines] == [f"step {step}" for step in (0, 1, 2, 3, 1, 2)]
    assert running.returncode == 0
    own = numbered(out, 2)[1]
    assert f"stored in {own}" in rest
    assert (
        f"note: step 2 was written after step 3, so the job was probably restarted: {out} stays "
        f"as it is, and what the job has written since is in {own}\n"
    ) in told
    check_attempts(job, numbered(out, 2))


# --- what is said -------------------------------------------------------------------------------


@pytest.fixture
def restarted(job: Job, out: Path) -> list[Path]:
    """The analyses of a job that was started again."""
    job.write(*range(6))
    once(job, out)
    job.restart(0)
    job.write(*range(3))
    return once(job, out).places


def test_json_has_all_analyses_and_the_ranking_of_the_last(
    job: Job, out: Path, restarted: list[Path]
) -> None:
    command = ("watch", job.folder, "-o", out, "--once", "--settle", "0", "--json")

    document = json.loads(accweight(*command).out)

    assert document["out"] == str(restarted[1])
    assert document["steps"] == [0, 1, 2]
    assert document["segments"] == [
        {"out": str(restarted[0]), "steps": list(range(6))},
        {"out": str(restarted[1]), "steps": [0, 1, 2]},
    ]
    assert accweight("compare", *restarted).code == 0


def test_both_analyses_say_what_they_have_to_do_with_each_other(restarted: list[Path]) -> None:
    first = (
        "the job was probably restarted after step 5: what it has written since is in run-2.accw"
    )
    second = (
        "the job was probably restarted: step 0 was written after step 5, the last one in "
        "run.accw; this analysis begins with step 0"
    )

    shown = [words(accweight("rank", place).out) for place in restarted]

    assert [first in shown[0], second in shown[0]] == [True, False]
    assert [first in shown[1], second in shown[1]] == [False, True]
    for form in ("md", "html"):
        page = restarted[1].with_suffix(f".{form}")
        assert accweight("report", restarted[1], "-o", page, "--format", form).code == 0
        assert second[1:] in words(page.read_text())  # a sentence begins with a capital


def test_checkpoints_that_were_written_over_are_said_to_be_and_where_the_rest_is(
    restarted: list[Path], tmp_path: Path
) -> None:
    why = (
        r"epoch_0\.pt: the checkpoint of step 0 has changed since the analysis began, as the job "
        r"was probably restarted: what it has written since is in run-2\.accw; exact values need "
        "it as it was, rankings and pictures do not"
    )
    events = ("export", restarted[0], "--to", "tensorboard", "-o", tmp_path / "events")

    with pytest.raises(SourceError, match=why):
        aw.open_analysis(restarted[0]).cumulative("fc.weight")
    for shown in (accweight("check", restarted[0]), accweight(*events)):
        assert shown.code == 0
        said = words(shown.out + shown.err)
        assert "was probably restarted: what it has written since is in run-2.accw" in said
        assert "again" not in said


def test_append_refuses_what_another_attempt_has_written(job: Job, out: Path) -> None:
    job.write(*range(4))
    once(job, out)
    job.restart(1, kept=1)
    job.write(2)
    said: list[str] = []
    aw.append(job.folder, out, notice=said.append)
    job.write(3, 4)

    way_out = (
        f"step 2 was written after step 3, so the job was probably restarted; {out} stays as it "
        "was measured. accweight watch begins another analysis beside it, or analyse what the job "
        "has written since, to another output"
    )
    assert said == [way_out, nothing_new(3)]
    with pytest.raises(MismatchError, match="step 2 was written after step 3, so the job was"):
        aw.append(job.folder, out)
    assert aw.open_analysis(out).steps.tolist() == [0, 1, 2, 3]
    job.touch(4)
    once(job, out)
    job.write(5)
    aw.append(job.folder, numbered(out, 2)[1])
    check_attempts(job, numbered(out, 2))


@pytest.mark.parametrize(
    "wrong",
    [{"after": "../a.accw"}, {"after": ""}, {"after": "a" * 256}, {"last_step": 10**400},
     {"first_step": -(2**64)}],
    ids=["folder", "empty", "long", "last", "first"],
)  # fmt: skip
def test_a_restart_that_cannot_be_is_a_damaged_analysis(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    out = tmp_path / "a.accw"
    aw.analyze(aw.open_run([small(0.0), small(1.0)]), out)
    held = {"after": "b.accw", "last_step": 1, "last_changed_ns": 0, "first_step": 0, **wrong}
    edited(out, lambda found: found["accweight"].update(restart=held))

    with pytest.raises(StoreError, match=r"a.accw: .*damaged") as caught:
        aw.open_analysis(out)

    assert "\n" not in str(caught.value)
