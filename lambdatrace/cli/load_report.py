"""What a load run came to, for people and for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections import Counter

    from lambdatrace.harness.latencies import Latencies
    from lambdatrace.harness.load import LoadResult

PERCENTILES = (50, 90, 95, 99, 99.9)
_BAR_CHARACTERS = 40


def as_document(result: LoadResult, *, is_interrupted: bool) -> dict[str, Any]:
    """The result for scripts; shares are 0 to 1, the histogram's rows [from ms, to ms, count]."""
    return {
        "function": result.function.name,
        "memory_size_mb": result.function.memory_size_mb,
        "is_interrupted": is_interrupted,
        "elapsed_s": round(result.elapsed_s, 3),
        "rate_per_s": round(result.rate, 2),
        "sent": result.sent,
        "succeeded": result.succeeded,
        "failed": result.failed,
        "errors": dict(result.errors.most_common()),
        "throttles": result.throttles,
        "refused": dict(result.refused),
        "executed": result.executed,
        "cold_starts": result.cold_starts,
        "cold_start_share": round(result.cold_start_share, 6),
        "latency_ms": _figures(result.latencies),
        "latency_histogram_ms": [list(row) for row in result.latencies.histogram()],
        "init_duration_ms": _figures(result.init_durations),
        "billed_duration_ms": result.billed_duration_ms,
        "billed_gb_s": round(result.billed_gb_s, 6),
        "cost_usd": round(result.cost_usd, 9),
    }


def _figures(latencies: Latencies) -> dict[str, float]:
    """Empty without any."""
    if not latencies.count:
        return {}
    figures = {"min": latencies.min_ms, "mean": latencies.mean_ms}
    figures |= {f"p{percent:g}": latencies.percentile(percent) for percent in PERCENTILES}
    return {name: round(ms, 3) for name, ms in {**figures, "max": latencies.max_ms}.items()}


def as_text(result: LoadResult, *, is_interrupted: bool) -> str:
    """The result for people."""
    interrupted = ", interrupted" if is_interrupted else ""
    title = f"{result.function.name}: {result.answered} invokes in {result.elapsed_s:.2f} s"
    lines = [
        f"{title}, {result.rate:,.1f} answers per second{interrupted}",
        f"  succeeded    {result.succeeded}",
        f"  failed       {_counts(result.failed, result.errors)}",
        f"  throttled    {result.throttles}",
    ]
    if result.refused:
        lines.append(f"  refused      {_counts(sum(result.refused.values()), result.refused)}")
    share = f" ({result.cold_start_share:.1%})" if result.executed else ""
    lines.append(f"  cold starts  {result.cold_starts}{share}{_init(result.init_durations)}")
    if result.latencies.count:
        lines += ["", "latency", *_histogram(result.latencies)]
    billed = f"{result.billed_duration_ms / 1000:.3f} s at {result.function.memory_size_mb} MB"
    cost = f"{result.billed_gb_s:.4f} GB-s, ${result.cost_usd:.7f} in us-east-1{_cost(result)}"
    return "\n".join([*lines, "", f"billed {billed}: {cost}", ""])


def _counts(total: int, kinds: Counter[str]) -> str:
    listed = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    return f"{total} ({listed})" if listed else str(total)


def _init(durations: Latencies) -> str:
    if not durations.count:
        return ""
    return f", init median {durations.percentile(50):.1f} ms, longest {durations.max_ms:.1f} ms"


def _histogram(latencies: Latencies) -> list[str]:
    rows = latencies.histogram()
    most = max(count for _, _, count in rows)
    bars = [
        f"  {low:>8g} - {high:<8g} ms {count:>8} {'#' * -(-count * _BAR_CHARACTERS // most)}"
        for low, high, count in rows
    ]
    figures = [f"{name} {ms:.2f} ms" for name, ms in _figures(latencies).items()]
    return [f"  {', '.join(figures)}", *bars]


def _cost(result: LoadResult) -> str:
    if not result.executed:
        return ""
    return f", ${result.cost_usd / result.executed * 1e6:.2f} per million invokes"
