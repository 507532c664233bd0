"""Time: the cursor, the steps of one or two runs, and analyses that grow while they are shown."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from viewer_helpers import run_of, session_of, stopped, stored, walks

import accweight_core as aw
from accweight_core.errors import UnknownNameError
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.session import Session
from accweight_viewer.model.timeline import REST_SECONDS, TimeCursor

SPEED = 4.0


def playing(count: int, position: int = 0) -> TimeCursor:
    cursor = TimeCursor(count, position)
    cursor.playing = True
    return cursor


# --- the cursor -------------------------------------------------------------------------------


def test_moving_ends_at_the_first_and_the_last_checkpoint() -> None:
    cursor = TimeCursor(5, 2)

    moved = [(cursor.move_to(position), cursor.position) for position in (3, 3, 99, -7, 0)]

    assert moved == [(True, 3), (False, 3), (True, 4), (True, 0), (False, 0)]


@pytest.mark.parametrize("count", [0, 1])
def test_what_has_no_other_moment_cannot_play(count: int) -> None:
    cursor = TimeCursor(count)

    cursor.play()

    assert (cursor.playing, cursor.position, cursor.last) == (False, 0, 0)


def test_playing_from_the_end_begins_anew() -> None:
    cursor = TimeCursor(5, 4)

    cursor.play()

    assert (cursor.playing, cursor.position) == (True, 0)


def test_playing_from_the_middle_goes_on_there() -> None:
    cursor = TimeCursor(5, 2)

    cursor.play()

    assert (cursor.playing, cursor.position) == (True, 2)


def test_time_moves_at_its_speed_and_shows_how_far_the_next_checkpoint_has_come() -> None:
    cursor = playing(10)

    moved = [cursor.advance(0.125, speed=SPEED, loop=True) for _ in range(5)]

    assert moved == [False, True, False, True, False]
    assert (cursor.position, cursor.phase) == (2, 0.5)


def test_time_that_rests_does_not_move() -> None:
    cursor = TimeCursor(10, 3)

    moved = cursor.advance(5.0, speed=SPEED, loop=True)

    assert (moved, cursor.position, cursor.phase) == (False, 3, 0.0)


def test_pausing_goes_back_to_a_checkpoint() -> None:
    cursor = playing(10)
    cursor.advance(0.375, speed=SPEED, loop=True)

    cursor.pause()

    assert (cursor.playing, cursor.position, cursor.phase) == (False, 1, 0.0)


def test_a_loop_rests_at_the_end_before_it_begins_anew() -> None:
    cursor = playing(3)
    cursor.advance(10.0, speed=SPEED, loop=True)

    at_end = cursor.position, cursor.phase
    early = cursor.advance(0.9 * REST_SECONDS, speed=SPEED, loop=True), cursor.position
    late = cursor.advance(0.2 * REST_SECONDS, speed=SPEED, loop=True), cursor.position

    assert (at_end, early, late) == ((2, 0.0), (False, 2), (True, 0))
    assert cursor.playing


def test_every_round_of_a_loop_rests_as_long_as_the_first() -> None:
    cursor = playing(2)
    rested = []

    for _ in range(3):
        cursor.advance(1.0, speed=SPEED, loop=True)
        frames = 1
        while not cursor.advance(REST_SECONDS / 7.5, speed=SPEED, loop=True):
            frames += 1
        rested.append(frames)

    assert rested == [8, 8, 8]


def test_without_a_loop_time_stops_at_the_end() -> None:
    cursor = playing(3)
    cursor.advance(10.0, speed=SPEED, loop=False)

    moved = cursor.advance(0.001, speed=SPEED, loop=False)

    assert (moved, cursor.position, cursor.playing) == (False, 2, False)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_it_does_not_matter_how_many_frames_are_drawn(frames: list[int]) -> None:
    many, one = playing(10_000), playing(10_000)

    for frame in frames:
        many.advance(frame / 64, speed=SPEED, loop=True)
    one.advance(sum(frames) / 64, speed=SPEED, loop=True)

    assert (many.position, many.phase) == (one.position, one.phase)


ACTIONS: dict[str, Callable[[TimeCursor, float], object]] = {
    "move": lambda cursor, value: cursor.move_to(int(20 * value) - 5),
    "play": lambda cursor, value: cursor.play(),
    "pause": lambda cursor, value: cursor.pause(),
    "loop": lambda cursor, value: cursor.advance(value, speed=7.0, loop=True),
    "once": lambda cursor, value: cursor.advance(value, speed=7.0, loop=False),
}


@given(
    st.integers(0, 6),
    st.lists(st.tuples(st.sampled_from(sorted(ACTIONS)), st.floats(0, 1)), max_size=30),
)
def test_whatever_happens_there_is_a_checkpoint_to_show(
    count: int, actions: list[tuple[str, float]]
) -> None:
    cursor = TimeCursor(count)

    for name, value in actions:
        before = cursor.position
        moved = ACTIONS[name](cursor, value)

        assert 0 <= cursor.position <= cursor.last
        assert 0 <= cursor.phase < 1
        assert cursor.phase == 0 or cursor.position < cursor.last
        assert moved is None or moved == (cursor.position != before)


# --- the time of a session --------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("time")


@pytest.fixture(scope="module")
def five(folder: Path) -> Path:
    """Steps 0, 10, 20, 30, 40."""
    return stored(folder, "five", walks(["a", "b"], 5), steps=[0, 10, 20, 30, 40])


@pytest.fixture(scope="module")
def three(folder: Path) -> Path:
    """Steps 15, 20, 60."""
    return stored(folder, "three", walks(["a"], 3), steps=[15, 20, 60])


def heard_by(session: Session) -> list[str]:
    """Return where a session notes what it tells."""
    heard: list[str] = []
    for name in ("time", "playing", "selection", "data"):
        signal = getattr(session, f"{name}_changed")
        signal.connect(lambda name=name: heard.append(name))
    return heard


def test_a_session_begins_where_training_ended(five: Path) -> None:
    session = session_of(five)

    assert session.step == 40
    assert session.cursor.position == 4


def test_two_runs_have_one_timeline(five: Path, three: Path) -> None:
    session = session_of(five, three)

    assert session.steps.tolist() == [0, 10, 15, 20, 30, 40, 60]


def test_each_run_shows_its_last_checkpoint_up_to_the_step(five: Path, three: Path) -> None:
    session = session_of(five, three)

    shown = []
    for position in range(len(session.steps)):
        session.move_to(position)
        shown.append((session.step, session.run_position(0), session.run_position(1)))

    assert shown == [
        (0, 0, 0),
        (10, 1, 0),
        (15, 1, 0),
        (20, 2, 1),
        (30, 3, 1),
        (40, 4, 1),
        (60, 4, 2),
    ]


def test_a_source_shows_the_same_moment_as_its_run(five: Path, three: Path) -> None:
    session = session_of(three, five)

    at = []
    for comparison in ("beside", "difference"):
        session.compare_as(comparison)
        for position in range(len(session.steps)):
            session.move_to(position)
            found = [session.source_position(source) for source in session.sources]
            at.append(found == [session.run_position(run) for run in range(len(found))])

    assert at == [True] * 14


def test_moving_is_told_once_and_standing_still_never(five: Path) -> None:
    session = session_of(five)
    heard = heard_by(session)

    for position in (2, 2, 99, 4):
        session.move_to(position)

    assert heard == ["time", "time"]


def test_a_step_is_found_by_its_number(five: Path) -> None:
    session = session_of(five)

    session.move_to_step(30)

    assert (session.step, session.cursor.position) == (30, 3)


def test_a_step_that_is_not_there_is_told_with_the_ones_that_are(five: Path) -> None:
    session = session_of(five)

    with pytest.raises(UnknownNameError) as caught:
        session.move_to_step(15)

    assert str(caught.value) == "there is no step 15; the 5 steps go from 0 to 40"
    assert session.step == 40


def test_playing_is_told_and_so_is_its_jump_to_the_beginning(five: Path) -> None:
    session = session_of(five)
    heard = heard_by(session)

    session.play()

    assert heard == ["playing", "time"]
    assert session.step == 0


def test_frames_between_two_checkpoints_are_not_told(five: Path) -> None:
    session = session_of(five, speed=SPEED)
    session.play()
    heard = heard_by(session)

    for _ in range(4):
        session.advance(0.125)

    assert heard == ["time", "time"]


def test_the_end_of_playing_is_told(five: Path) -> None:
    session = session_of(five, speed=SPEED, loop=False)
    session.play()
    heard = heard_by(session)

    for _ in range(20):
        session.advance(0.125)

    assert heard == ["time"] * 4 + ["playing"]
    assert (session.cursor.playing, session.step) == (False, 40)


def test_time_that_rests_tells_nothing(five: Path) -> None:
    session = session_of(five)
    heard = heard_by(session)

    session.advance(100.0)

    assert heard == []


def test_moments_between_checkpoints_can_be_shown_but_not_after_the_last(five: Path) -> None:
    session = session_of(five)

    shown = []
    for position in (1, 4):
        session.show_between(position, 0.5)
        shown.append((session.step, session.cursor.phase))

    assert shown == [(10, 0.5), (40, 0.0)]


def test_thousands_of_steps_are_one_timeline(folder: Path) -> None:
    series = [{"a.weight": np.full((2, 2), step, np.float32)} for step in range(3000)]
    aw.analyze(aw.open_run(series), folder / "long.accw")

    session = session_of(folder / "long.accw")

    assert len(session.steps) == 3000
    assert session.runs[0].plates[0].peak == 2999


# --- growth -----------------------------------------------------------------------------------


@pytest.fixture
def growing(tmp_path: Path) -> tuple[Path, Callable[[], object]]:
    """An analysis of which one of three layers is finished, and what finishes it."""
    run = run_of(tmp_path / "run", walks(["a", "b", "c"], 3))
    out = stopped(run, tmp_path / "run.accw", after=1)
    return out, lambda: aw.analyze(run, out)


def test_an_unfinished_analysis_grows_and_a_finished_one_does_not(
    growing: tuple[Path, Callable[[], object]], five: Path
) -> None:
    out, finish = growing

    answers = [session_of(out).growing, session_of(five).growing, session_of(five, out).growing]
    finish()

    assert [*answers, session_of(out).growing] == [True, False, True, False]


def test_nothing_is_told_while_nothing_has_changed(
    growing: tuple[Path, Callable[[], object]],
) -> None:
    session = session_of(growing[0])
    heard, runs = heard_by(session), list(session.runs)

    assert session.refresh() is False
    assert heard == []
    assert session.runs == runs


def test_what_has_been_finished_meanwhile_is_shown(
    growing: tuple[Path, Callable[[], object]],
) -> None:
    out, finish = growing
    session = session_of(out)
    heard = heard_by(session)
    before = [plate.ready for plate in session.runs[0].plates]

    finish()
    told = session.refresh()

    assert (told, heard) == (True, ["data", "time"])
    assert before == [True, False, False]
    assert [plate.ready for plate in session.runs[0].plates] == [True, True, True]
    assert session.refresh() is False


def test_a_selection_outlives_growth(growing: tuple[Path, Callable[[], object]]) -> None:
    out, finish = growing
    session = session_of(out)
    session.select_texel(Pick(0, session.runs[0].plates[1], 2, 3))
    heard = heard_by(session)

    finish()
    session.refresh()

    assert heard == ["data", "time"]
    assert session.layer == "b"
    assert session.pick == Pick(0, session.runs[0].plates[1], 2, 3)
    assert session.pick.plate.ready


@pytest.fixture
def appendable(tmp_path: Path) -> tuple[Path, Callable[[], object]]:
    """An analysis of three steps that can be continued, and what appends two more."""
    series = walks(["a", "b"], 5)
    out = tmp_path / "run.accw"
    aw.analyze(run_of(tmp_path / "run", series[:3]), out, keep_state=True)
    return out, lambda: aw.append(run_of(tmp_path / "more", series), out)


def test_who_looks_at_the_last_step_goes_on_looking_at_the_last_step(
    appendable: tuple[Path, Callable[[], object]],
) -> None:
    out, append = appendable
    session = session_of(out)

    append()
    session.refresh()

    assert session.steps.tolist() == [0, 1, 2, 3, 4]
    assert (session.step, session.cursor.count) == (4, 5)


def test_who_looks_at_an_earlier_step_goes_on_looking_at_it(
    appendable: tuple[Path, Callable[[], object]],
) -> None:
    out, append = appendable
    session = session_of(out)
    session.move_to_step(1)

    append()
    session.refresh()

    assert session.step == 1


def test_the_other_of_two_runs_stays_as_it_is(
    appendable: tuple[Path, Callable[[], object]], five: Path
) -> None:
    out, append = appendable
    session = session_of(five, out)
    other = session.runs[0]
    session.move_to_step(10)

    append()
    session.refresh()

    assert session.runs[0] is other
    assert session.steps.tolist() == [0, 1, 2, 3, 4, 10, 20, 30, 40]
    assert session.step == 10


def test_an_analysis_that_is_gone_for_a_moment_stays_on_the_screen(
    appendable: tuple[Path, Callable[[], object]],
) -> None:
    out, append = appendable
    session = session_of(out)
    run = session.runs[0]

    out.rename(out.with_name("elsewhere"))
    gone = session.refresh(), session.runs == [run]
    out.with_name("elsewhere").rename(out)
    append()
    back = session.refresh()

    assert (gone, back) == ((False, True), True)
    assert len(session.runs[0].steps) == 5


def test_an_analysis_of_something_else_loses_the_selection_and_says_so(
    tmp_path: Path, five: Path
) -> None:
    out = tmp_path / "run.accw"
    shutil.copytree(five, out)
    session = session_of(out)
    session.select_texel(Pick(0, session.runs[0].plates[1], 2, 3))
    heard = heard_by(session)
    before = session.layer_names, session.layers_called("z")

    shutil.rmtree(out)
    stored(tmp_path, "run", walks(["a", "z"], 2))
    session.refresh()

    assert before == (["a", "b"], [None])
    assert session.layers_called("z") == [session.runs[0].layers[1]]
    assert heard == ["data", "time", "selection"]
    assert (session.layer, session.pick) == (None, None)
    assert session.layer_names == ["a", "z"]
    assert session.only_in("b") == ""


def test_a_texel_is_not_kept_where_its_picture_has_another_size(tmp_path: Path, five: Path) -> None:
    out = tmp_path / "run.accw"
    shutil.copytree(five, out)
    session = session_of(out)
    session.select_texel(Pick(0, session.runs[0].plates[1], 2, 3))
    heard = heard_by(session)

    shutil.rmtree(out)
    stored(tmp_path, "run", walks(["a", "b"], 2, size=9))
    session.refresh()

    assert heard == ["data", "time", "selection"]
    assert (session.layer, session.pick) == ("b", None)


def test_a_step_that_has_gone_leads_to_the_next_one(tmp_path: Path, five: Path) -> None:
    out = tmp_path / "run.accw"
    shutil.copytree(five, out)
    session = session_of(out)
    session.move_to_step(20)

    shutil.rmtree(out)
    stored(tmp_path, "run", walks(["a"], 3), steps=[0, 25, 50])
    session.refresh()

    assert session.step == 25


def test_a_run_shows_the_numbers_of_its_header_whatever_happens_to_the_files(
    appendable: tuple[Path, Callable[[], object]],
) -> None:
    out, append = appendable
    session = session_of(out)

    append()

    assert len(session.rows()[0].values) == 2
    assert session.runs[0].metric("mean")[0, -1] > 0
    assert session.curves().shape == (2, 3)
