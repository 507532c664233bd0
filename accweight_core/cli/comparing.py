"""The commands that compare runs: `compare` for rankings, `align` for layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accweight_core.cli import options

if TYPE_CHECKING:
    from accweight_core.alignment.alignment import Values

OTHER = "Another one, of any format, width or depth."

GIVEN = "\0"
"""Between the name and the analyses of a group that was given as several words."""

values_option = click.option(
    "--values",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Compare weights of a common step: auto for ambiguous names only, always, or never.",
)


class _Grouped(click.Command):
    """A command whose option ``--group NAME A B ...`` takes all words up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Join the words of each group into one value, then parse as usual."""
        return super().parse_args(ctx, joined_groups(args))


def joined_groups(words: Sequence[str]) -> list[str]:
    """Return the words of a command line with those of each ``--group`` joined into one value.

    >>> joined_groups(["--group", "y=c,d", "--json"])
    ['--group=y=c,d', '--json']
    """
    found: list[str] = []
    at = 0
    while at < len(words):
        word, at = words[at], at + 1
        if word != "--group":
            found.append(word)
            continue
        first = at
        while at < len(words) and not words[at].startswith("-"):
            at += 1
        found.append(f"--group={GIVEN.join(words[first:at])}")
    return found


def parsed_groups(given: Sequence[str]) -> dict[str, list[str]]:
    """Return the analyses of each group by its name, from ``NAME A B`` or ``NAME=A,B``."""
    groups: dict[str, list[str]] = {}
    for text in given:
        name, *paths = text.split(GIVEN)
        if not paths and "=" in name:
            name, _, listed = name.partition("=")
            paths = [path for path in listed.split(",") if path]
        if not name or not paths:
            raise click.BadParameter(
                "--group takes a name and analyses: --group lr0.1 a.accw b.accw, "
                "or --group lr0.1=a.accw,b.accw"
            )
        if name in groups:
            raise click.BadParameter(f"two groups are called {name!r}; each needs its own name")
        groups[name] = paths
    return groups


@click.command(cls=_Grouped)
@click.argument(
    "analyses",
    nargs=-1,
    metavar="A B",
    help="Two analyses (NAME.accw) or more, of any format, width or depth; or two checkpoints.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME A B ...",
    help="Compare groups of runs, such as seeds of one setting: once for each group.",
)
@options.metric
@click.option(
    "--rates",
    metavar="A,B",
    help="Learning rates of two runs, if constant; by default those in the checkpoints.",
)
@options.map_file
@values_option
@click.option(
    "--html", type=options.OUT, metavar="FILE",
    help="Write what probes have found in two runs as one page, side by side on one time line, "
    "replacing an older one.",
)  # fmt: skip
@click.option(
    "--png", type=options.OUT, metavar="FOLDER",
    help="Draw what probes have found in two runs side by side, replacing older files.",
)  # fmt: skip
@options.as_json
def compare(
    analyses: tuple[str, ...],
    groups: tuple[str, ...],
    by: str | None,
    rates: str | None,
    map: Path | None,
    values: Values,
    html: str | None,
    png: str | None,
    *,
    json: bool,
) -> None:
    """Compare analyses, layer by layer: two, several, or groups of runs; or two checkpoints.

    With --group, seeds of each setting tell how much of a difference is noise:
    compare --group lr0.1 a.accw b.accw c.accw --group lr0.01 d.accw e.accw f.accw
    """
    given = parsed_groups(groups)
    if given and analyses:
        raise click.BadParameter(f"{analyses[0]}: is in no group; with --group, all are")
    if not given and len(analyses) < 2:
        raise click.UsageError("compare takes two analyses (A B) or more, or groups (--group)")
    constant = parsed_rates(rates)
    if constant and (given or len(analyses) > 2):
        raise click.BadParameter("--rates is for two runs: A B")
    if (html or png) and (given or len(analyses) > 2):
        raise click.BadParameter("--html and --png are for two runs: A B")
    if given or len(analyses) > 2:
        _compare_groups(given or {"runs": list(analyses)}, by, map, values, json=json)
    else:
        shown = {"html": html, "png": png}
        _compare_two(analyses[0], analyses[1], by, constant, map, values, shown, json=json)


def parsed_rates(text: str | None) -> list[float] | None:
    """Return the learning rates of two runs, from ``0.1,0.01``."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"--rates takes two numbers, as in --rates 0.1,0.01, not {text!r}"
        ) from None


def _compare_two(
    a: str,
    b: str,
    by: str | None,
    rates: list[float] | None,
    map: Path | None,
    values: Values,
    shown: dict[str, str | None],
    *,
    json: bool,
) -> None:
    from accweight_core.alignment.comparison import compare as compared
    from accweight_core.analysis.analysis import as_analysis
    from accweight_core.cli import alignments, output, pairs, side_by_side

    if pairs.are_checkpoints(a, b):
        if rates or any(shown.values()):
            raise click.BadParameter(
                "--rates, --html and --png are for two runs, not for two checkpoints"
            )
        change = pairs.change_between(a, b, by, map)
        output.remark(*change.header.notes)
        output.show(pairs.pair_json(change, a, b, by) if json else pairs.pair(change, a, b, by))
        return
    runs = [(name, as_analysis(name)) for name in (a, b)]
    written = side_by_side.write_beside(runs, shown["html"], shown["png"])
    result = compared(runs[0][1], runs[1][1], by, map=map, values=values, rates=rates)
    output.show(
        {**alignments.comparison_json(result, runs), **written}
        if json
        else [*alignments.comparison(result, a, b, runs), *side_by_side.written_lines(written)]
    )


def _compare_groups(
    groups: dict[str, list[str]], by: str | None, map: Path | None, values: Values, *, json: bool
) -> None:
    from accweight_core.alignment.groups import compare_groups
    from accweight_core.cli import group_tables, output

    result = compare_groups(groups, by, map=map, values=values)
    document: dict[str, Any] = result.to_json()
    output.show(document if json else group_tables.groups_page(result))


@click.command()
@click.argument("a", help="An analysis (NAME.accw), or a source of checkpoints.")
@click.argument("b", help=OTHER)
@click.option("-o", "--out", type=options.OUT, help="Write the matches as a map file.")
@options.map_file
@values_option
@options.as_json
def align(a: str, b: str, out: str | None, map: Path | None, values: Values, *, json: bool) -> None:
    """Match the layers of two runs by name, position, shape and values, with a confidence each."""
    from accweight_core.alignment.alignment import align as aligned
    from accweight_core.alignment.alignment import side_at
    from accweight_core.alignment.map_template import write_alignment
    from accweight_core.cli import alignments, output

    left, right = side_at(a), side_at(b)
    result = aligned(left, right, map=map, values=values)
    if out is not None:
        output.remark(write_alignment(out, left, right, result))
    document = {"a": a, "b": b, **result.to_json(), **({"map": out} if out else {})}
    output.show(document if json else alignments.alignment(result, a, b))
