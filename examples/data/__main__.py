"""Download data sets: `python -m examples.data NAME ...`, or list them: `python -m examples.data --list`."""

import argparse
import sys
from collections.abc import Sequence

from examples.data import SETS, DataError, fetch
from examples.data.cache import ORIGIN, is_here


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.data", description=__doc__)
    parser.add_argument("name", nargs="*", help="of data sets")
    parser.add_argument("--list", action="store_true", help="list the data sets")
    given = parser.parse_args(arguments)
    if given.list or not given.name:
        for found in SETS.values():
            sources = found.copy or found.files
            size = sum(source.size for source in sources) / 1e6
            where = "here" if is_here(found) else f"{size:.0f} MB to download"
            home = "" if found.files else " (its copy alone is downloaded)"
            carried = ", ".join(source.address.rsplit("/", 1)[1] for source in found.copy) or "none"
            print(f"{found.name}: {found.content}; {where}")
            print(f"    home     {found.home}{home}\n    licence  {found.licence}\n    copy in  {carried}")
        return 0
    try:
        for name in given.name:
            folder = fetch(name)
            origin = folder / ORIGIN
            print(f"{name}: {SETS[name].content}\n    licence  {SETS[name].licence}\n    files in {folder}")
            if origin.exists():
                print("\n".join(f"    from     {line}" for line in origin.read_text().splitlines()[1:]))
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
