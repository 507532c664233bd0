"""``python -m accweight_core`` is the command `accweight`."""

from accweight_core.cli import main

main()
