"""``python -m fdl.as_jax script.py ...`` or ``-m module ...``: run a program whose ``import jax`` gives fdl."""

import runpy
import sys
from pathlib import Path

from fdl.as_jax.finder import install

USAGE = "usage: python -m fdl.as_jax (script.py | -m module) [arguments ...]"


def main(arguments: list[str]) -> None:
    """Run a script or a module as ``python`` itself would."""
    if not arguments or arguments == ["-m"] or arguments[0] in ("-h", "--help"):
        raise SystemExit(USAGE)
    install()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
