"""`python -m fdl.models` lists the models; `python -m fdl.models NAME --summary` prints the layers of one."""

import argparse

from fdl.models.table import described, names, summary


def main(arguments: list[str] | None = None) -> None:
    """Print what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m fdl.models", description="The models of fdl.")
    parser.add_argument("name", nargs="?", help="of a model; none lists all of them with their numbers of parameters")
    parser.add_argument("--summary", action="store_true", help="print layers, shapes, parameters and FLOPs")
    parser.add_argument("--batch", type=int, default=1, help="how many examples the FLOPs are of")
    asked = parser.parse_args(arguments)
    if asked.name is not None and asked.name not in names():
        parser.error(f"there is no model {asked.name!r}; there are: {', '.join(names())}")
    if asked.batch < 1:
        parser.error("--batch must be at least 1")
    if asked.name is None:
        print(described(names()))
    elif asked.summary:
        print(summary(asked.name, asked.batch))
    else:
        print(described([asked.name]))


if __name__ == "__main__":
    main()
