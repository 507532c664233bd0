"""The command `accweight`.

Commands live in `commands`, what they print in `rankings`, `inspections` and `alignments`, how it
is printed in `output`; heavy libraries are imported inside
the command that needs them, so that ``accweight --help`` is quick. Other packages add commands
through the entry-point group ``accweight.commands``.
"""

from __future__ import annotations

import sys

COMMAND_GROUP = "accweight.commands"
"""Entry points through which other packages bring commands."""


def main() -> None:
    """Run the command and exit: 0 done, 1 a clear error, 2 wrong usage."""
    from accweight_core.cli.app import run

    sys.exit(run(sys.argv[1:]))
