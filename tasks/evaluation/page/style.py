"""How a report looks: light or dark as the reader's system is, one column on a phone."""

from __future__ import annotations

STYLE = """
:root{--c0:#2f6fd0;--c1:#d9702a;--c2:#3a9a55;--c3:#b0459a;--c4:#8a7a1f;--c5:#2e9fa8;--c6:#c43d4b;--c7:#75757f;
--ink:#1d2026;--soft:#5d636e;--line:#dfe2e8;--ground:#fff;--card:#f6f7f9}
@media (prefers-color-scheme:dark){:root{--c0:#7aa9f5;--c1:#f0a066;--c2:#74cc8c;--c3:#dd8ccb;--c4:#d3c35a;--c5:#6fd0d8;
--c6:#f2848e;--c7:#b0b0ba;--ink:#e6e8ec;--soft:#a3a9b5;--line:#343944;--ground:#16181d;--card:#1f2229}}
*{box-sizing:border-box}
body{margin:0 auto;padding:24px 20px 60px;max-width:1180px;background:var(--ground);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:25px;margin:0 0 4px}h2{font-size:18px;margin:36px 0 10px;padding-top:12px;border-top:1px solid var(--line)}
p{margin:6px 0}small,.soft{color:var(--soft);font-size:13px}
.grid-of{display:grid;grid-template-columns:repeat(auto-fill,minmax(270px,1fr));gap:14px}
figure{margin:0;background:var(--card);border-radius:8px;padding:10px 10px 6px}
figcaption{font-weight:600;font-size:14px}figcaption small{font-weight:400}
svg{width:100%;height:auto;display:block}svg svg{width:auto;height:auto}
svg text{font-size:11.5px;fill:var(--soft)}
.grid{stroke:var(--line);stroke-width:1;fill:none}.mark{stroke:var(--soft);stroke-dasharray:4 3;stroke-width:1}
.zone{fill:var(--soft);opacity:.12}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:14px}
th,td{padding:4px 14px 4px 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600}td:first-child{min-width:100px}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
code{font:13px ui-monospace,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.legend span{margin-right:16px;white-space:nowrap}.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;
margin-right:6px;vertical-align:-1px}
.bars{columns:2 420px;column-gap:40px;margin:10px 0}.bars.wide{columns:1}
.row{break-inside:avoid;display:grid;grid-template-columns:minmax(80px,150px) 1fr 128px;gap:12px;align-items:center;padding:4px 0;
font-size:14px}.row b{font-weight:500;overflow-wrap:anywhere}
.bar{display:flex;height:18px;border-radius:4px;overflow:hidden}.bar span{display:block;height:100%}
.stack span{display:block;height:6px;margin:1px 0;border-radius:3px}
img{max-width:100%;height:auto;border-radius:8px}details{margin:10px 0}summary{cursor:pointer;color:var(--soft)}
"""
