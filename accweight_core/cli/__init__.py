"""The command `accweight`.

The commands are in `commands`; `rankings`, `inspections` and `alignments` format their results, and
`output` prints them. Heavy libraries are imported inside the command that needs them, so that
``accweight --help`` is fast. Other packages add commands through the entry-point group
``accweight.commands``.
"""

from __future__ import annotations

import sys

COMMAND_GROUP = "accweight.commands"
"""Entry-point group for commands of other packages."""


def main() -> None:
    """Run the command and exit with 0 for success, 1 for an error, 2 for wrong usage."""
    from accweight_core.cli.app import run

    sys.exit(run(sys.argv[1:]))
