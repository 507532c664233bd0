"""The probe `attribution`: its ratings are those of autograd and of captum, and add up."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser_pages import opened
from probe_networks import Classifier, Plain, digits, trained, write_states
from torch import nn

import accweight_core as aw
from accweight_core.analysis.probe_pictures import are_strips, as_seen, pictures_at, token_rows
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.attribution import Attribution
from accweight_core.probes.pixels import pictures_of
from accweight_core.reports.probe_page import probe_page

Array = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture(scope="module")
def states() -> list[dict[str, torch.Tensor]]:
    """Three steps of a classifier that learns real digits."""
    torch.manual_seed(0)
    return trained(Classifier(), *digits(96), epochs=2)


@pytest.fixture(scope="module")
def run(states: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of their analysis."""
    folder = tmp_path_factory.mktemp("attribution")
    aw.analyze(aw.open_run(write_states(folder / "run", states)), folder / "run.accw")
    return folder / "run.accw"


def probed(run: Path, options: str, network: Any = None, data: Any = None) -> Any:
    network = network or Plain(Classifier())
    return aw.probe(run, network, data or digits(24), f"attribution:{options}")["attribution"]


def module_at(states: Any, step: int) -> nn.Module:
    module = Classifier()
    module.load_state_dict(states[step])
    return module.eval()


def samples_of(found: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the samples that were explained, and their classes."""
    x, y = digits(24)
    rows = found.attributes["rows"]
    return torch.from_numpy(x[rows]), torch.from_numpy(y[rows])


def test_gradients_are_those_of_autograd_at_every_step(run: Path, states: Any) -> None:
    found = probed(run, "samples=6")

    for step in range(3):
        x, y = samples_of(found)
        x.requires_grad_()
        score = module_at(states, step)(x)[torch.arange(6), y]
        score.sum().backward()
        np.testing.assert_allclose(found.array("parts", step), x.grad, atol=1e-6, rtol=1e-5)
        np.testing.assert_allclose(found.array("score", step), score.detach(), rtol=1e-5)


@pytest.mark.parametrize("method", ["gradient_x_input", "integrated"])
def test_ratings_are_those_of_captum(run: Path, states: Any, method: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attr = pytest.importorskip("captum.attr")
    found = probed(run, f"method={method},samples=6,points=64")

    x, y = samples_of(found)
    module = module_at(states, 2)
    if method == "integrated":
        expected = attr.IntegratedGradients(module).attribute(
            x, target=y, n_steps=64, method="riemann_middle"
        )
    else:
        expected = attr.InputXGradient(module).attribute(x.requires_grad_(), target=y)
    expected = expected.detach().numpy()
    np.testing.assert_allclose(found.array("parts", 2), expected, atol=1e-5 * abs(expected).max())


def test_integrated_parts_add_up_to_the_change_of_the_output(run: Path, states: Any) -> None:
    found = probed(run, "method=integrated,samples=6,points=200")

    x, y = samples_of(found)
    module = module_at(states, 2)
    with torch.no_grad():
        change = (module(x) - module(torch.zeros_like(x)))[torch.arange(6), y].numpy()
    np.testing.assert_allclose(found.array("parts", 2).sum(axis=(1, 2, 3)), change, rtol=0.02)
    assert found.array("incomplete").max() < 0.05
    assert any("parts add up" in line for line in Attribution.summary(found))


def test_a_linear_network_is_explained_by_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(1)
    states = [{"0.weight": torch.randn(2, 5), "0.bias": torch.randn(2)} for _ in range(2)]
    aw.analyze(aw.open_run(write_states(tmp_path / "run", states)), tmp_path / "run.accw")
    network, x = Plain(nn.Sequential(nn.Linear(5, 2))), np.random.default_rng(0).random((7, 5))
    data = x.astype("f4"), np.zeros(7, np.int64)

    for method, times in (("gradient", 1), ("smoothgrad", 1), ("integrated", data[0])):
        options = f"method={method},samples=7,unit=1"
        found = probed(tmp_path / "run.accw", options, network, data)

        expected = np.broadcast_to(states[1]["0.weight"][1].numpy() * times, (7, 5))
        np.testing.assert_allclose(found.array("parts", 1), expected, rtol=1e-5, atol=1e-6)
        assert found.array("images").shape[2:] == (1, 5, 1)


def test_noise_of_zero_is_the_gradient_and_other_noise_is_repeatable(run: Path) -> None:
    plain = probed(run, "samples=4").array("parts")
    still = probed(run, "method=smoothgrad,samples=4,noise=0.0,points=2").array("parts")
    noisy = probed(run, "method=smoothgrad,samples=4,points=3")
    again = aw.probe(run, Plain(Classifier()), digits(24),
                     "attribution:method=smoothgrad,samples=4,points=3", batch_size=5)  # fmt: skip

    np.testing.assert_allclose(still, plain, rtol=1e-5, atol=1e-7)
    assert noisy.array("parts").tobytes() == again["attribution"].array("parts").tobytes()
    assert not np.allclose(noisy.array("parts"), plain, rtol=1e-2)


def test_pictures_are_on_one_scale_and_end_at_themselves(run: Path) -> None:
    found = probed(run, "samples=4")

    shown = (found.array("images")[..., 0].astype(float) - 128) / 127 * found.array("scale")[0, 1]
    expected = found.array("parts").sum(axis=2)
    np.testing.assert_allclose(shown, expected, atol=found.array("scale")[0, 1] / 127)
    similarity = found.table("step")["similarity"].to_numpy()
    assert similarity[-1] == pytest.approx(1)
    assert similarity[0] < similarity[-1]


class Tokens(nn.Module):
    """Sums the vectors of tokens; one of two numbers comes out of it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return two numbers."""
        found: torch.Tensor = self.out(self.embed(x).sum(1))
        return found


class Transformer(nn.Module):
    """A block of attention over tokens; the classes of the sequence, or of every token."""

    def __init__(self, *, per_token: bool = False) -> None:
        super().__init__()
        self.per_token = per_token
        self.embed, self.place = nn.Embedding(10, 8), nn.Parameter(torch.zeros(5, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores."""
        hidden = self.block(self.embed(x) + self.place)
        scores: torch.Tensor = self.out(hidden if self.per_token else hidden.mean(1))
        return scores


def tokens_run(folder: Path, module: nn.Module) -> Path:
    """Return the analysis of two steps of a module, of the weights that it has."""
    states = [module.state_dict() for _ in range(2)]
    aw.analyze(aw.open_run(write_states(folder / "run", states)), folder / "run.accw")
    return folder / "run.accw"


TOKENS = np.random.default_rng(0).integers(0, 10, (6, 5))
CLASSES = np.array([0, 1, 2, 2, 1, 0])


@pytest.mark.parametrize("node", ["", ",node=embed"])
def test_tokens_are_rated_at_their_embedding(tmp_path: Path, node: str) -> None:
    torch.manual_seed(2)
    module = Tokens()
    run = tokens_run(tmp_path, module)

    options = f"method=gradient_x_input,samples=6,unit=0{node}"
    names = np.array(list("abcdefghij"))
    data = {"x": TOKENS, "y": np.zeros(6, np.int64), "vocabulary": names}
    found = probed(run, options, Plain(Tokens()), data)

    vectors = module.state_dict()["embed.weight"].numpy()[TOKENS]
    expected = (vectors * module.state_dict()["out.weight"][0].numpy()).sum(axis=-1)
    np.testing.assert_allclose(found.array("parts", 1), expected, rtol=1e-5, atol=1e-6)
    assert found.attributes["node"] == "embed"
    named = token_rows(found, "images", pictures_at(found, "images", 1))
    rows = found.attributes["rows"]
    assert named == [["abcdefghij"[token] for token in row] for row in TOKENS[rows].tolist()]
    assert found.array("images").shape[2:] == (1, 5, 1), "a row of five tokens"


def test_tokens_are_written_on_pages_in_the_colour_of_their_rating(
    tmp_path: Path, browser: Any
) -> None:
    module = Tokens()
    with torch.no_grad():
        module.embed.weight[:] = torch.arange(10)[:, None] - 4.5
        module.out.weight[0] = 1.0
    found = probed(tokens_run(tmp_path, module), "method=gradient_x_input,samples=6,unit=0",
                   Plain(Tokens()), (TOKENS, np.zeros(6, np.int64)))  # fmt: skip

    path = probe_page([found], tmp_path / "page.html", command="accweight probe")

    with opened(browser, path) as page:
        page.wait_for_selector(".of-pictures[data-shown='1']")
        tokens = page.locator(".tokens .token")
        texts = tokens.all_inner_texts()
        assert texts == [str(one) for one in TOKENS[found.attributes["rows"]].ravel()]
        looks = tokens.evaluate_all("(all) => all.map((one) => one.style.background)")
        for text, look in zip(texts, looks, strict=True):
            red, _, blue = (int(part) for part in re.findall(r"\d+", look)[:3])
            assert (red > blue) == (int(text) > 4), "orange above 0, blue below"


@pytest.mark.parametrize("token", [0, 7])
def test_integrated_ratings_of_tokens_are_those_of_captum(tmp_path: Path, token: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attr = pytest.importorskip("captum.attr")
    torch.manual_seed(3)
    module = Transformer().eval()
    run = tokens_run(tmp_path, module)

    options = f"method=integrated,samples=6,points=32,token={token}"
    found = probed(run, options, Plain(Transformer()), (TOKENS, CLASSES))

    x = torch.from_numpy(TOKENS)
    expected = attr.LayerIntegratedGradients(module, module.embed).attribute(
        x, torch.full_like(x, token), target=torch.from_numpy(CLASSES), n_steps=32,
        method="riemann_middle",
    ).sum(-1).detach().numpy()  # fmt: skip
    assert np.abs(found.array("parts", 1) - expected).max() <= 1e-5 * np.abs(expected).max()
    assert found.array("incomplete").max() < 0.05


def test_a_baseline_of_zeros_and_noise_are_those_of_the_vectors_themselves(tmp_path: Path) -> None:
    torch.manual_seed(3)
    module = Transformer().eval()
    run, data = tokens_run(tmp_path, module), (TOKENS, CLASSES)

    found = probed(run, "method=integrated,samples=6,points=16", Plain(Transformer()), data)
    still = probed(run, "method=smoothgrad,samples=6,noise=0.0", Plain(Transformer()), data)

    vectors = module.embed(torch.from_numpy(TOKENS)).detach()
    total = torch.zeros_like(vectors)
    for share in [*((np.arange(16) + 0.5) / 16).tolist(), 1.0]:
        given = (vectors * share).requires_grad_()
        scores = module.out(module.block(given + module.place).mean(1))
        scores[torch.arange(6), CLASSES].sum().backward()
        gradient = given.grad
        total += gradient / 16 if share < 1 else 0
    expected = (vectors * total).sum(-1)
    np.testing.assert_allclose(found.array("parts", 1), expected, atol=1e-5 * expected.abs().max())
    last = gradient.norm(dim=-1)
    np.testing.assert_allclose(still.array("parts", 1), last, atol=1e-5 * last.abs().max())


@pytest.mark.parametrize(("at", "position"), [("", 4), (",at=1", 1)])
def test_outputs_of_tokens_are_explained_at_one_position(
    tmp_path: Path, at: str, position: int
) -> None:
    torch.manual_seed(4)
    module = Transformer(per_token=True).eval()
    labels = np.random.default_rng(1).integers(0, 3, (6, 5))

    options, network = f"samples=6{at}", Plain(Transformer(per_token=True))
    found = probed(tokens_run(tmp_path, module), options, network, (TOKENS, labels))

    vectors = module.embed(torch.from_numpy(TOKENS)).detach().requires_grad_()
    scores = module.out(module.block(vectors + module.place))
    score = scores[torch.arange(6), position, torch.from_numpy(labels[:, position])]
    score.sum().backward()
    expected = vectors.grad.norm(dim=-1)
    np.testing.assert_allclose(found.array("score", 1), score.detach(), rtol=1e-5)
    np.testing.assert_allclose(found.array("parts", 1), expected, atol=1e-5 * expected.abs().max())


def test_networks_of_a_fixed_number_of_samples_are_explained_alike(run: Path) -> None:
    free = probed(run, "method=integrated,samples=7,points=3")

    fixed = probed(run, "method=integrated,samples=7,points=3", Plain(Classifier(), (2, 1, 8, 8)))

    np.testing.assert_allclose(fixed.array("parts"), free.array("parts"), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("unit=3", "there is no output 3; the network has 3"),
        ("at=3", "at=3 names a position .* one output of 3 numbers per sample: leave out at="),
        ("points=0", "points is 0; expected at least 1"),
        ("method=integrated,token=3", "token= is for inputs that are whole numbers"),
    ],
)
def test_what_cannot_be_explained_is_told(run: Path, options: str, message: str) -> None:
    with pytest.raises(ArgumentValueError, match=message):
        probed(run, options)


def test_channels_are_added_in_pictures() -> None:
    assert pictures_of(np.ones((2, 3, 4, 5))).tolist() == np.full((2, 4, 5), 3.0).tolist()
    assert pictures_of(np.ones((2, 7))).shape == (2, 3, 3)


@pytest.mark.parametrize(("features", "shape"), [(64, (8, 8)), (601, (3, 201))])
def test_features_stand_in_rows_unless_they_fill_a_square(
    tmp_path: Path, features: int, shape: tuple[int, int]
) -> None:
    module = nn.Sequential(nn.Linear(features, 2))
    data = np.ones((3, features), np.float32), np.array([0, 1, 0])

    found = probed(tokens_run(tmp_path, module), "samples=3", Plain(module), data)

    assert found.array("images").shape[2:] == (*shape, 1)
    seen = as_seen(found, "images", pictures_at(found, "images", 1))
    assert are_strips(found, "images", seen) is (features == 601)
    gaps = shape[0] * shape[1] - features
    assert seen.shape[-1] == 4
    if gaps:  # what fills up the last row is seen through
        assert (seen[:, -1, -gaps:, 3] == 0).all()
        assert (found.array("images")[-1] == 0).sum() == 3 * gaps
