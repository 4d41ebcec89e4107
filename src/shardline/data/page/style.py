"""The page's look, in light and dark."""

STYLE = """
:root {
  --page: #f7f6f3; --card: #ffffff; --ink: #1f1e1b; --quiet: #6a675f; --line: #e3e0d8;
  --blue: #2f6f9f; --amber: #c47f17; --green: #4d8a57; --red: #b3402f; --track: #ece9e1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #171614; --card: #201f1c; --ink: #ece9e2; --quiet: #a29e94; --line: #36342f;
    --blue: #78b4dd; --amber: #e0a94f; --green: #86c090; --red: #e58675; --track: #2e2c28;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 4px; }
p { margin: 4px 0 12px; }
.quiet { color: var(--quiet); }
header, section { margin-bottom: 28px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 20px 22px; overflow-x: auto; }
dl.tiles { display: flex; flex-wrap: wrap; gap: 12px 40px; margin: 20px 0 14px; }
dl.tiles dt { color: var(--quiet); font-size: 13px; }
dl.tiles dd { margin: 0; font-size: 22px; font-variant-numeric: tabular-nums; }
dl.tiles dd.warned { color: var(--red); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: middle; padding: 7px 14px 7px 0;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--quiet); font-weight: 500; font-size: 13px; white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
td.number, th.number { text-align: right; white-space: nowrap; }
tbody th { font-weight: 600; overflow-wrap: anywhere; min-width: 110px; }
small { display: block; color: var(--quiet); font-weight: 400; font-size: 12.5px; }
td.wide { width: 38%; }
.warned { color: var(--red); }
svg { display: block; fill: var(--blue); max-width: 100%; }
svg.bar { width: 100%; min-width: 90px; height: 8px; }
svg.splits { width: 100%; height: 14px; border-radius: 4px; }
svg .track { fill: var(--track); }
.train { fill: var(--blue); } .validation { fill: var(--amber); } .test { fill: var(--green); }
ul.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 8px 0 0;
  padding: 0; font-size: 13px; color: var(--quiet); }
ul.legend svg { display: inline-block; width: 10px; height: 10px; margin-right: 6px; }
details { border-bottom: 1px solid var(--line); }
details:last-child { border-bottom: 0; }
details > summary { display: grid; grid-template-columns: minmax(130px, 1.5fr) 140px repeat(3, 1fr);
  gap: 14px; align-items: center; cursor: pointer; padding: 9px 0; list-style: none;
  min-width: 640px; }
details > summary::-webkit-details-marker { display: none; }
details > summary:hover strong { text-decoration: underline; }
details strong { overflow-wrap: anywhere; }
details .inside { display: flex; flex-wrap: wrap; gap: 20px 40px; padding: 8px 0 18px; }
details .inside table { width: auto; align-self: flex-start; font-size: 13.5px; }
details .inside td, details .inside th { padding: 3px 14px 3px 0; border-bottom: 0; }
details .inside td small { display: inline-block; margin-left: 8px; min-width: 48px; }
details strong::before { content: "+ "; color: var(--quiet); font-weight: 400; }
details[open] strong::before { content: "- "; }
details .inside figure { margin: 0; flex: 1 1 380px; max-width: 560px; }
details .inside svg { width: 100%; height: 150px; }
figcaption { display: flex; justify-content: space-between; color: var(--quiet);
  font-size: 12.5px; }
pre { background: var(--page); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 14px; overflow-x: auto; font: 13px/1.45 ui-monospace, Menlo, Consolas, monospace; }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""
