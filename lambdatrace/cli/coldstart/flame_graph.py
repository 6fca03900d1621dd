"""A cold start as a flame graph: one HTML file that needs nothing else, no script and no network.

Time runs to the right; below a module stands what it imported. Elements are nested, each as wide as
its share of the one above, so the browser does the arithmetic.
"""

from __future__ import annotations

import zlib
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lambdatrace.cli.coldstart.cold_starts import ColdStart, Module

# Narrower than a pixel of a wide screen nothing can be seen; it keeps the file small.
SHARE_MIN = 0.0004

_NS_PER_MS = 1_000_000
_HUES = (205, 160, 35, 265, 340, 95, 15, 230)  # told apart side by side

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Cold start of {handler}</title>
<style>
  body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2rem; color: #1b1f24; background: #fff; }}
  h1 {{ font-size: 1.25rem; margin: 0; }}
  p {{ margin: .25rem 0 1.5rem; color: #57606a; }}
  .row {{ display: flex; align-items: flex-start; }}
  .node {{ box-sizing: border-box; min-width: 0; padding-right: 1px; }}
  .name {{ font-size: 12px; line-height: 20px; height: 20px; text-indent: 4px; margin-bottom: 1px;
    overflow: hidden; white-space: nowrap; text-overflow: ellipsis; border-radius: 2px; }}
  .name:hover {{ outline: 2px solid #1b1f24; }}
  @media (prefers-color-scheme: dark) {{
    body {{ color: #e6edf3; background: #0d1117; }} p {{ color: #9198a1; }}
    .name {{ color: #1b1f24; }} .name:hover {{ outline-color: #e6edf3; }}
  }}
</style></head><body>
<h1>Cold start of {handler}</h1>
<p>{total:.1f} ms from the start of the process to the handler. A bar is as wide as its time; below
it stands what it imported. Figures are ms; point at a bar for what of them is its own.</p>
"""


def flame_graph(handler: str, start: ColdStart) -> str:
    """The page, as HTML."""
    total_ns = max(1, start.total_ns)
    parts = [_HEAD.format(handler=escape(handler), total=start.total_ns / _NS_PER_MS)]
    parts.append('<div class="row">')
    parts += _bar("Python itself", start.interpreter_ns, start.interpreter_ns, total_ns)
    parts.append("</div>")
    parts += _bar("the runtime client", start.runtime_ns, start.runtime_ns, total_ns)
    parts.append("</div>")
    own_ns = max(0, start.import_ns - sum(module.ns for module in start.modules))
    parts += _bar("the handler's module", start.import_ns, own_ns, total_ns)
    parts += _row(start.modules, start.import_ns, total_ns)
    parts.append("</div></div>\n</body></html>\n")
    return "".join(parts)


def _row(modules: Sequence[Module], above_ns: int, total_ns: int) -> Iterator[str]:
    shown = [module for module in modules if module.ns >= SHARE_MIN * total_ns]
    if not shown:
        return
    yield '<div class="row">'
    for module in shown:
        yield from _bar(module.name, module.ns, module.own_ns, above_ns)
        yield from _row(module.children, module.ns, total_ns)
        yield "</div>"
    yield "</div>"


def _bar(name: str, ns: int, own_ns: int, above_ns: int) -> Iterator[str]:
    """An open element; the caller closes it after what is below."""
    width = 100 * ns / max(1, above_ns)
    title = f"{name}: {ns / _NS_PER_MS:.1f} ms, {own_ns / _NS_PER_MS:.1f} ms of it in itself"
    # A package and all its modules in one colour, the same in each graph.
    hue = _HUES[zlib.crc32(name.partition(".")[0].encode()) % len(_HUES)]
    yield f'<div class="node" style="width:{width:.3f}%">'
    yield (
        f'<div class="name" style="background:hsl({hue} 70% 78%)" title="{escape(title)}">'
        f"{escape(name)} <small>{ns / _NS_PER_MS:.1f}</small></div>"
    )
