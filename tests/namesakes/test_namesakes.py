"""Every public function of fdl.numpy, fdl.scipy.special, fdl.scipy.stats and fdl.nn does what its namesake does."""

import pytest

from tests.namesakes import algebra, elementwise, networks, reductions, shapes, special
from tests.namesakes.engine import Table, run

TABLES = {
    "numpy": [elementwise.TABLE, reductions.TABLE, shapes.TABLE, algebra.TABLE],
    "special": [special.TABLE],
    **{table.module.__name__.rpartition(".")[2]: [table] for table in special.STATS},
    "nn": [networks.TABLE],
}
ROWS = [
    pytest.param(row, id=f"{name}.{row.name}")
    for name, tables in TABLES.items()
    for t in tables
    for row in t.rows.values()
]


@pytest.mark.parametrize("row", ROWS)
def test_a_function_does_what_its_namesake_does(row):
    run(row)


@pytest.mark.parametrize("tables", TABLES.values(), ids=TABLES)
def test_every_public_function_has_a_row_or_a_reason(tables: list[Table]):
    missing = set.intersection(*(set(t.missing()) for t in tables))
    assert not missing, f"give these a row in tests/namesakes, or a reason why not: {sorted(missing)}"
