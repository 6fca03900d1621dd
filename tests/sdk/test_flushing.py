from __future__ import annotations

import pytest

from lambdatrace.flushing import (
    CLOSED,
    HALF_OPEN,
    OPEN,
    EndpointHealth,
    send_timeout_ms,
    watchdog_ns,
)

S = 1_000_000_000
MS = 1_000_000
NOW = 1_700_000_000 * S


@pytest.mark.parametrize(
    ("left_ms", "timeout_ms"),
    [(60_000, 10_000), (1_020, 1_000), (100, 80), (25, 5), (24, 0), (0, 0), (-500, 0)],
)
def test_a_send_gets_what_is_left_of_the_invocation_less_the_margin(
    left_ms: int, timeout_ms: int
) -> None:
    assert send_timeout_ms(NOW, NOW + left_ms * MS, EndpointHealth(), 10_000) == timeout_ms


def test_without_a_deadline_a_send_gets_the_configured_timeout() -> None:
    assert send_timeout_ms(NOW, 0, EndpointHealth(), 10_000) == 10_000


def test_an_endpoint_that_failed_is_left_alone_twice_as_long_each_time_up_to_a_minute() -> None:
    health, waits = EndpointHealth(), []
    for _ in range(8):
        health = health.after_failure(NOW)
        waits.append((health.retry_at_ns - NOW) / S)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_records_are_kept_until_the_endpoint_may_be_tried_again() -> None:
    health = EndpointHealth().after_failure(NOW)
    assert send_timeout_ms(NOW + S - 1, 0, health, 10_000) == 0
    assert send_timeout_ms(NOW + S, 0, health, 10_000) == 10_000


@pytest.mark.parametrize(("retry_after_s", "wait_s"), [(0, 0), (5, 5), (3600, 60)])
def test_the_endpoints_own_retry_after_counts_up_to_a_minute(
    retry_after_s: float, wait_s: float
) -> None:
    health = EndpointHealth(4).after_failure(NOW, 0, retry_after_s)
    assert health.retry_at_ns == NOW + wait_s * S


def test_an_endpoint_that_kept_us_waiting_is_left_alone_ten_times_as_long() -> None:
    assert EndpointHealth().after_failure(NOW, 3 * S).retry_at_ns == NOW + 30 * S
    assert EndpointHealth().after_failure(NOW, 10 * S).retry_at_ns == NOW + 60 * S


@pytest.mark.parametrize(("timeout_s", "before_ms"), [(0.1, 30), (1, 100), (3, 200), (900, 200)])
def test_the_watchdog_leaves_a_tenth_of_the_timeout_within_its_bounds(
    timeout_s: float, before_ms: int
) -> None:
    deadline = NOW + int(timeout_s * S)
    assert deadline - watchdog_ns(NOW, deadline) == before_ms * MS


def test_the_circuit_opens_at_a_failure_and_one_try_decides_whether_it_closes() -> None:
    health = EndpointHealth()
    assert health.state(NOW) == CLOSED
    health = health.after_failure(NOW)
    assert [health.state(NOW), health.state(NOW + S - 1), health.state(NOW + S)] == [
        OPEN,
        OPEN,
        HALF_OPEN,
    ]
    assert health.after_failure(NOW + S).state(NOW + 3 * S - 1) == OPEN
    assert health.after_failure(NOW + S).state(NOW + 3 * S) == HALF_OPEN


@pytest.mark.parametrize(("random", "wait_ms"), [(0.0, 1000), (0.5, 900), (1.0, 800)])
def test_environments_that_failed_together_try_again_one_after_the_other(
    random: float, wait_ms: int
) -> None:
    assert EndpointHealth().after_failure(NOW, random=random).retry_at_ns == NOW + wait_ms * MS


def test_the_endpoints_own_retry_after_is_kept_to_the_letter() -> None:
    health = EndpointHealth().after_failure(NOW, retry_after_s=5, random=1.0)
    assert health.retry_at_ns == NOW + 5 * S
