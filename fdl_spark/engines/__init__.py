"""Ways to take synchronous steps: reduce-scatter, update, all-gather; the same bits by any of them.

`engine.py` says what an engine is. `driver`, `shuffle`, `blocks` and `connect_shuffle` take each step by Spark jobs of
its own (`stepping.py`); `resident` takes many in one, whose tasks (`rank.py`, with `members.py`, `between.py` and
`rows.py`) exchange slices by `net/`; `auto` finds out which of them is the fastest. What they share is in `common/`.
"""
