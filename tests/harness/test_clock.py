from __future__ import annotations

from lambdatrace.harness import VirtualClock


def test_calls_come_in_order_each_at_its_own_time() -> None:
    clock = VirtualClock(100.0)
    calls: list[tuple[str, float]] = []

    def call(name: str, then_in_s: float = 0) -> None:
        calls.append((name, clock.now_s()))
        if then_in_s:
            clock.call_later(then_in_s, lambda: call(f"after {name}"))

    clock.call_later(60, lambda: call("b"))
    clock.call_later(1, lambda: call("a", 2))
    clock.call_later(1, lambda: call("next to a"))
    clock.call_later(2, lambda: call("never")).cancel()
    clock.move_to(130.0)
    assert calls == [("a", 101.0), ("next to a", 101.0), ("after a", 103.0)]
    assert (clock.now_s(), clock.next_due_s) == (130.0, 160.0)
    clock.move_to(160.0)
    assert calls[3:] == [("b", 160.0)]
    assert clock.next_due_s is None
