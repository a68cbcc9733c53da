"""What a report looks like, in light and in dark."""

STYLE = """
:root { color-scheme: light dark; --back: #fff; --card: #f6f7f9; --ink: #1b1f24; --soft: #5c6670; --rule: #d9dee3;
  --warn: #b3261e; --c0: #0b6bcb; --c1: #d9620c; --c2: #12875a; --c3: #a8439a; --c4: #b08900; --c5: #3aa6d8;
  --c6: #7a5cd6; --c7: #6b7480; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14171a; --card: #1d2125; --ink: #e6e9ec; --soft: #9aa4ae; --rule: #343b42; --warn: #ff8a80;
    --c0: #5aa9f5; --c1: #f5974f; --c2: #4cc38a; --c3: #d98ad0; --c4: #d6b545; --c5: #74c7ec; --c6: #a996f0;
    --c7: #9aa4ae; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 860px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 26px; margin: 8px 0 16px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 40px 0 10px; padding-bottom: 4px; border-bottom: 1px solid var(--rule); }
h3 { font-size: 15px; margin: 20px 0 6px; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 10px; margin: 0; }
.tiles div { background: var(--card); border-radius: 8px; padding: 8px 12px; min-width: 0; }
dt { color: var(--soft); font-size: 12px; overflow-wrap: anywhere; }
dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
figure { margin: 8px 0; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; font-variant-numeric: tabular-nums; }
.grid { stroke: var(--rule); }
.border { stroke: var(--rule); stroke-dasharray: 2 3; }
.event { stroke: var(--warn); stroke-width: 1.2; stroke-dasharray: 4 3; }
.mark { stroke: var(--warn); stroke-width: 1.5; fill: none; }
.line { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.faint { stroke-width: 1; opacity: 0.5; }
.area { opacity: 0.85; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 4px 0; font-size: 13px; color: var(--soft); }
.legend span { overflow-wrap: anywhere; }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 6px; }
.note { color: var(--soft); font-size: 13px; margin: 4px 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(380px, 100%), 1fr)); gap: 0 24px; }
.scroll { overflow-x: auto; margin: 8px 0; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th { text-align: left; color: var(--soft); font-weight: 600; white-space: nowrap; }
th, td { padding: 4px 14px 4px 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
td { overflow-wrap: break-word; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
details { margin: 10px 0; }
summary { cursor: pointer; color: var(--soft); }
@media print { details > * { display: block; } }
"""
