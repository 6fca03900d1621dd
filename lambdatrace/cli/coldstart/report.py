"""A cold start in words: phases, the tree of imports sorted by time, what could wait."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lambdatrace.cli.coldstart.cold_starts import ColdStart, Deferral, Module

_NS_PER_MS = 1_000_000


def report(
    handler: str, start: ColdStart, deferral: Deferral, *, min_ns: int, top: int, code_dir: Path
) -> Iterator[str]:
    """The lines of the report, without newlines; what took less than `min_ns` is left out.

    And all modules but the `top` that took longest; 0 for all.
    """
    slowest = sorted((module.ns for module in start.walk() if module.ns >= min_ns), reverse=True)
    is_cut = 0 < top < len(slowest)
    phases = {
        "Python itself": start.interpreter_ns,
        "the runtime client": start.runtime_ns,
        "the handler's module": start.import_ns,
    }
    # The sum of what is shown: rounded by itself it may be a tenth off.
    total = sum(round(ns / _NS_PER_MS, 1) for ns in phases.values())
    yield f"{handler}: {total:.1f} ms from the start of the process to the handler"
    yield ""
    for phase, ns in phases.items():
        yield f"{_ms(ns)}  {phase}"
    if start.note:
        yield f"             ({start.note})"
    yield ""
    yield "   with what    itself   module"
    yield "  it imports"
    # What a module imports took no longer than itself, so what is shown is a tree.
    yield from _tree(start.modules, slowest[top - 1] if is_cut else min_ns, 0)
    if is_cut:
        least = f"{min_ns / _NS_PER_MS:g} ms"
        yield f"(the {top} slowest of {len(slowest)} modules of {least} or more; --top 0 shows all)"
    yield ""
    yield from _advice(deferral, min_ns, code_dir)


def _tree(modules: Sequence[Module], min_ns: int, depth: int) -> Iterator[str]:
    small = [module for module in modules if module.ns < min_ns]
    for module in sorted(modules, key=lambda module: -module.ns):
        if module.ns >= min_ns:
            name = "  " * depth + module.name
            yield f"{_ms(module.ns)}  {module.own_ns / _NS_PER_MS:8.1f}   {name}"
            yield from _tree(module.children, min_ns, depth + 1)
    if small:
        count = sum(1 for module in small for _ in module.walk())
        shown = "  " * depth + f"({count} more, each below {min_ns / _NS_PER_MS:.3g} ms)"
        yield f"{_ms(sum(module.ns for module in small))}  {'':8}   {shown}"


def _advice(deferral: Deferral, min_ns: int, code_dir: Path) -> Iterator[str]:
    if not deferral.proposals:
        yield f"No import of {min_ns / _NS_PER_MS:g} ms or more could wait."
        return
    yield "These could wait until a function needs them: move the import into it. Their time is"
    yield "that of all that nothing else loads."
    for proposal in deferral.proposals:
        deferrable = proposal.deferrable
        path = Path(proposal.path)
        place = path.relative_to(code_dir) if path.is_relative_to(code_dir) else path
        yield f"{_ms(proposal.ns)}  {place}:{deferrable.line}  {deferrable.statement}"
        users = ", ".join(deferrable.functions) or "nothing here: it may not be needed at all"
        instead = (
            "; the first event that comes to it waits instead" if proposal.is_in_handler else ""
        )
        yield f"              used by {users}{instead}"
    # Of the figures that are shown.
    saved = sum(round(proposal.ns / _NS_PER_MS, 1) for proposal in deferral.proposals)
    now = round(deferral.import_ns / _NS_PER_MS, 1)
    yield (
        f"Tried without them: the handler's module takes {now - saved:.1f} ms instead of "
        f"{now:.1f} ms, {saved:.1f} ms less."
    )


def _ms(ns: int) -> str:
    return f"{ns / _NS_PER_MS:9.1f} ms"
