"""Runs whose checkpoints are revisions on the hub: the real client against a server on loopback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from git_repositories import weights
from hub_server import Hub, hub_at
from huggingface_hub import constants
from web_server import Handler

import accweight_core as aw
from accweight_core.cli.app import run as cli
from accweight_core.errors import FormatError, MissingLibraryError, SourceError
from accweight_core.remote import path_at, revision_of

CONFIGURATION = b'{"architectures": ["Net"]}'


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Return a hub with a run: a branch for each step, and main as the last of them."""
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    with hub_at(tmp_path / "hub") as hub:
        for index, step in enumerate((0, 1000, 2000, 10000)):
            files = {
                "model.npz": weights(index, tmp_path),
                "config.json": CONFIGURATION,
                "README.md": b"a run",
                "logs/loss.txt": b"0.1",
            }
            hub.commit(files, branch=f"step{step}")
        hub.commit({**files, "README.md": b"published"}, branch="main")
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
        monkeypatch.setattr(constants, "ENDPOINT", hub.served.url)  # as from HF_ENDPOINT
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.served.url + template)
        yield hub


def steps_of(run: aw.Run) -> list[int]:
    return [checkpoint.step for checkpoint in run.checkpoints]


def path_length(run: aw.Run) -> float:
    return float(aw.analyze(run).cumulative("fc.weight").mean())


def asked(hub: Hub, what: str) -> int:
    return sum(what in path for _, path, _ in hub.served.requests)


# --- what is read --------------------------------------------------------------------------------


def test_every_branch_that_matches_is_a_checkpoint(hub: Hub) -> None:
    run = aw.open_run("hf://lab/net", revisions="step*")

    assert steps_of(run) == [0, 1000, 2000, 10000]
    assert run.checkpoints[1].step_source == "revision step1000"
    assert run.checkpoints[1].path == f"hf://lab/net@{hub.branches['step1000']}/model.npz"
    assert path_length(run) == pytest.approx(3.0)


def test_the_last_step_published_as_main_is_no_step_of_its_own(hub: Hub) -> None:
    run = aw.open_run("hf://lab/net", revisions="*")

    assert steps_of(run) == [0, 1000, 2000, 10000]
    assert "main left out: the same files as step10000" in run.notes


def test_one_revision_is_a_checkpoint_of_its_step(hub: Hub) -> None:
    for name in ("step2000", hub.branches["step2000"]):
        assert aw.open_run(f"hf://lab/net@{name}").checkpoints[0].path.endswith("/model.npz")
    assert steps_of(aw.open_run("hf://lab/net@step2000")) == [2000]
    assert steps_of(aw.open_run(["hf://lab/net@step2000", "hf://lab/net@step1000/model.npz"])) == [
        1000, 2000,
    ]  # fmt: skip


def test_the_folders_of_one_revision_are_a_run(hub: Hub, tmp_path: Path) -> None:
    hub.commit(
        {f"checkpoint-{n}/model.npz": weights(n, tmp_path) for n in (5, 10, 15, 20)},
        branch="trainer",
    )

    assert steps_of(aw.open_run("hf://lab/net@trainer")) == [5, 10, 15, 20]  # two pages and more
    assert steps_of(aw.open_run("hf://lab/net@trainer/checkpoint-1*")) == [10, 15]


def test_tags_and_names_with_a_slash_are_revisions(hub: Hub, tmp_path: Path) -> None:
    for index in (1, 2):
        hub.commit({"model.npz": weights(index, tmp_path)}, tag=f"stage1/step{index}00")

    run = aw.open_run("hf://lab/net", revisions="stage1/*")
    one = path_at("hf://lab/net@stage1%2Fstep100/model.npz")

    assert steps_of(run) == [100, 200]
    assert revision_of(one) is not None
    assert one.read_bytes() == weights(1, tmp_path)


def test_names_without_a_number_are_in_the_order_of_the_commits(hub: Hub, tmp_path: Path) -> None:
    for index, name in enumerate(("seed", "leaf", "tree")):
        hub.commit({"model.npz": weights(index, tmp_path)}, tag=f"as-{name}")

    run = aw.open_run("hf://lab/net", revisions="as-*")

    assert steps_of(run) == [0, 1, 2]
    assert [c.step_source.partition(",")[0] for c in run.checkpoints] == [
        "revision as-seed", "revision as-leaf", "revision as-tree",
    ]  # fmt: skip


def test_weights_are_read_by_ranges_and_what_is_the_same_once(hub: Hub, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for step in (1, 2):
        np.savez(
            tmp_path / "large.npz",
            a=np.zeros((10, 10), np.float32),
            b=rng.random((1 << 19,)).astype(np.float32),
        )
        content = (tmp_path / "large.npz").read_bytes()
        hub.commit({"model.npz": content, "config.json": b'{"large": 1}'}, tag=f"large{step}")
    hub.served.forget()
    hub.cdn.forget()

    run = aw.open_run("hf://lab/net", revisions="large*")

    assert hub.cdn.sent_bytes < 600_000 < 2 * len(content)
    assert asked(hub, "config.json") == 1
    assert asked(hub, "/tree/") == 2
    assert asked(hub, "/refs") == 1
    assert {method for method, *_ in hub.served.requests} == {"GET"}

    aw.analyze(run)

    assert asked(hub, "/resolve/") < len(hub.cdn.requests)  # redirected once for each file
    assert all(span.startswith("bytes=") for _, _, span in hub.cdn.requests)
    assert hub.cdn.sent_bytes < 2 * len(content) + 1_200_000


def test_a_place_that_has_expired_is_asked_for_again(hub: Hub, tmp_path: Path) -> None:
    content = np.random.default_rng(1).bytes(1 << 18)
    hub.commit({"noise.bin": content}, tag="noise")
    answer, refused = hub.cdn.misbehave, list[str]()

    def expire(handler: Handler, path: Path) -> bool:
        answer(handler, path)
        if len(hub.seen_at_cdn) != 2:
            return False
        refused.append(handler.path)
        handler.plain(403, b"expired")
        return True

    hub.cdn.misbehave = expire
    with path_at("hf://lab/net@noise/noise.bin").open("rb") as file:
        assert file.read(10) == content[:10]
        file.seek(200_000)
        assert file.read(10) == content[200_000:200_010]

    assert len(refused) == 1
    assert asked(hub, "/resolve/") == 2


# --- credentials ---------------------------------------------------------------------------------


def test_the_token_goes_to_the_hub_alone_and_is_never_stored(hub: Hub, tmp_path: Path) -> None:
    hub.token = "hf_verysecret"
    for step in (1, 2):  # of contents that no other test has read
        hub.commit({"model.npz": weights(70 + step, tmp_path)}, tag=f"secret{step}")
    out = tmp_path / "run.accw"

    run = aw.open_run(
        "hf://lab/net", revisions="secret*", storage_options={"token": "hf_verysecret"}
    )
    aw.analyze(run, out)
    assert aw.open_analysis(out).cumulative("fc.weight").mean() == pytest.approx(1.0)

    assert set(hub.seen_at_hub) == {"Bearer hf_verysecret"}
    assert set(hub.seen_at_cdn) == {""}
    stored = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert b"verysecret" not in stored
    assert "verysecret" not in repr(run)


@pytest.mark.parametrize("token", [None, "hf_wrong"])
def test_a_private_repository_says_how_to_log_in(hub: Hub, token: str | None) -> None:
    hub.token = "hf_right"

    with pytest.raises(SourceError, match=r"no such repository; .*hf auth login") as caught:
        aw.open_run("hf://lab/net", storage_options={"token": token} if token else None)

    assert "hf_" not in str(caught.value)


# --- analyses ------------------------------------------------------------------------------------


def test_exact_values_are_read_from_the_commits_of_then(hub: Hub, tmp_path: Path) -> None:
    out = tmp_path / "run.accw"
    aw.analyze(aw.open_run("hf://lab/net", revisions="step*"), out)
    hub.branches["step1000"] = hub.commit({"model.npz": weights(50, tmp_path)})

    np.testing.assert_allclose(aw.open_analysis(out).cumulative("fc.weight"), 3.0)


def test_commands_take_revisions(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run.accw")
    source = ["hf://lab/net", "--revisions", "step*"]

    assert cli(["inspect", *source]) == 0
    assert cli(["analyze", *source, "-o", out]) == 0
    assert cli(["check", *source]) == 0
    assert cli(["rank", out]) == 0
    assert "10000  revision step10000" in capsys.readouterr().out


# --- what is refused -----------------------------------------------------------------------------


def test_a_hub_that_is_busy_is_asked_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accweight_core.remote.errors.FIRST_PAUSE_S", 0.0)
    hub.fail = 2

    assert len(aw.open_run("hf://lab/net", revisions="step*").checkpoints) == 4

    hub.fail = 9
    with pytest.raises(SourceError, match="HTTP 429; tried 4 times"):
        aw.open_run("hf://lab/net", revisions="step*")


@pytest.mark.parametrize(
    ("source", "revisions", "said"),
    [
        ("hf://lab/none", None, "hf://lab/none: there is no such repository"),
        ("hf://lab/net@none", None, "hf://lab/net: there is no such branch, tag or commit"),
        ("hf://lab/net@" + "0" * 40, None, "no such branch, tag or commit"),
        ("hf://lab/net", "epoch*", "no branch or tag is called 'epoch*'; there are "),
        ("hf://lab/net@main", "step*", "names a revision, 'main', and revisions=PATTERN"),
        ("hf://lab/net/none.npz", "step*", "there is no such file or folder"),
        ("hf://lab/net/../../x", None, "leads out of the repository"),
        ("hf://lab/net@..%2F..%2Fx", None, "there is no such branch, tag or commit"),
        ("hf://lab/net@a\x1b[31m", None, "there is no such branch, tag or commit"),
        ("hf://", None, "expected hf://ORGANISATION/MODEL"),
        ("hf://lab/n?t", None, "no repository on the hub can be called so"),
    ],
)
def test_what_is_no_revision_is_refused_in_one_line(
    source: str, revisions: str | None, said: str, hub: Hub
) -> None:
    with pytest.raises(SourceError) as caught:
        aw.open_run(source, revisions=revisions)

    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_damaged_file_at_a_revision_is_an_error_that_says_what_to_do(
    hub: Hub, tmp_path: Path
) -> None:
    hub.commit({"model.npz": weights(3, tmp_path)[:400]}, branch="step3000")

    with pytest.raises(FormatError, match=r"revision step3000 cannot be read: .* revisions=PAT"):
        aw.open_run("hf://lab/net", revisions="step*")


def test_names_from_the_hub_lead_nowhere_else(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(weights(0, tmp_path))
    hub.commit(
        {
            "model.npz": weights(0, tmp_path),
            "../x.npz": weights(1, tmp_path),
            "a\x1b[31m.npz": weights(1, tmp_path),
            "sub/../../x.npz": weights(1, tmp_path),
        },
        branch="hostile",
    )
    hub.tags["../../evil"] = "../../../etc/passwd"

    names = sorted(entry.name for entry in path_at("hf://lab/net@hostile").iterdir())

    assert names == ["model.npz", "sub"]
    with pytest.raises(SourceError, match="no branch or tag is called"):
        aw.open_run("hf://lab/net", revisions="../*")


@pytest.mark.parametrize("missing", ["huggingface_hub", "fsspec", "aiohttp"])
def test_a_missing_library_is_named_with_its_extra(
    missing: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    if missing == "aiohttp":
        monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(MissingLibraryError, match=rf"needs {missing}.*'accweight\[hub\]'$"):
        aw.open_run("hf://lab/net")
