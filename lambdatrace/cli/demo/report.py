"""The demo's summary, drawn with rich from what the collector answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from lambdatrace.cli.demo.scenario import Step
    from lambdatrace.cli.demo.stored import Stored, StoredSpan

SHOWN_ID_DIGITS = 8
LINKS_SHOWN = 3


def show(console: Console, stored: Stored, steps: list[Step], functions: list[str]) -> None:
    """Ask the collector for everything and draw it."""
    traces = {step.trace_id: stored.trace(step.trace_id) for step in steps}
    console.rule("Traces")
    for step in steps:
        console.print(_trace(step, traces[step.trace_id]))
    console.rule("Cold starts")
    console.print(_cold_starts(span for roots in traces.values() for span in _walk(roots)))
    console.rule("Logs")
    for group in stored.log_groups():
        lines = stored.log_lines(group, "REPORT")
        console.print(f"[bold]{escape(group)}[/] · {len(lines)} REPORT lines")
        for line in lines:
            console.print(Text("  " + " · ".join(line.split("\t")[1:]).rstrip(" ·"), style="dim"))
    console.rule("Metrics")
    console.print(_function_metrics(stored, functions))
    console.print(_custom_metrics(stored))


def _trace(step: Step, roots: list[StoredSpan]) -> Tree:
    tree = Tree(
        f"[bold]{escape(step.title)}[/] → {escape(step.outcome)} [dim]trace {step.trace_id}[/]"
    )
    for root in roots:
        _add(tree, root)
    return tree


def _add(tree: Tree, span: StoredSpan) -> None:
    label = Text(f"{span.name} ", style="red" if span.error else "")
    label.append(f"{span.duration_ms:.1f} ms", style="cyan")
    label.append(f" {span.service} {span.kind}", style="dim")
    if span.attributes.get("faas.coldstart") is True and span.kind == "server":
        label.append(" cold start", style="yellow")
    if span.error:
        label.append(f" {span.error}", style="red")
    if span.links:
        shown = ", ".join(link[:SHOWN_ID_DIGITS] for link in span.links[:LINKS_SHOWN])
        more = "…" if len(span.links) > LINKS_SHOWN else ""
        label.append(f" links to traces {shown}{more}", style="magenta")
    branch = tree.add(label)
    for child in span.children:
        _add(branch, child)


def _walk(spans: Iterable[StoredSpan]) -> Iterable[StoredSpan]:
    for span in spans:
        yield span
        yield from _walk(span.children)


def _cold_starts(spans: Iterable[StoredSpan]) -> Table:
    table = Table("function", "environment ms", "imports ms", "handler ms", "total ms")
    for span in spans:
        init = next((child for child in span.children if child.name.startswith("init ")), None)
        if init is None:
            continue
        imports_ms = sum(child.duration_ms for child in init.children)
        table.add_row(
            span.service,
            f"{init.duration_ms - imports_ms:.1f}",
            f"{imports_ms:.1f}",
            f"{span.duration_ms:.1f}",
            f"{init.duration_ms + span.duration_ms:.1f}",
        )
    return table


def _function_metrics(stored: Stored, functions: list[str]) -> Table:
    table = Table(
        "FunctionName", "Invocations", "Errors", "Duration p50", "Duration p99", title="AWS/Lambda"
    )
    for metrics in stored.function_metrics(functions):
        table.add_row(
            metrics.name,
            f"{metrics.invocations:.0f}",
            f"{metrics.errors:.0f}",
            f"{metrics.duration_p50:.1f} ms",
            f"{metrics.duration_p99:.1f} ms",
        )
    return table


def _custom_metrics(stored: Stored) -> Table:
    table = Table("MetricName", "Dimensions", "Sum", "SampleCount", title="Shop")
    for name, dimensions, total, samples in stored.custom_metrics("Shop"):
        table.add_row(name, dimensions, f"{total:g}", f"{samples:.0f}")
    return table
