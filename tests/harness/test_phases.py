from __future__ import annotations

import itertools

import pytest

from lambdatrace.harness.errors import PhaseError
from lambdatrace.harness.phases import (
    TRANSITIONS,
    Phase,
    ShutdownPlan,
    Turn,
    advance,
    shutdown_plan,
)


def follow(start: Phase, *turns: Turn) -> list[Phase]:
    """The phases passed through from `start`."""
    return list(itertools.accumulate(turns, advance, initial=start))


def test_an_environment_is_frozen_after_init_and_after_each_invoke() -> None:
    assert follow(Phase.INIT, Turn.ALL_IDLE, Turn.INVOKE, Turn.ALL_IDLE, Turn.INVOKE) == [
        Phase.INIT,
        Phase.FREEZE,
        Phase.INVOKE,
        Phase.FREEZE,
        Phase.INVOKE,
    ]


def test_a_failed_invoke_resets_the_environment_and_the_next_one_runs_in_it() -> None:
    assert follow(Phase.INVOKE, Turn.FAILED, Turn.INVOKE, Turn.ALL_IDLE) == [
        Phase.INVOKE,
        Phase.RESET,
        Phase.INVOKE,
        Phase.FREEZE,
    ]


def test_a_snapshot_is_restored_before_its_first_event() -> None:
    assert follow(Phase.INIT, Turn.ALL_IDLE, Turn.RESTORE, Turn.ALL_IDLE, Turn.INVOKE) == [
        Phase.INIT,
        Phase.FREEZE,
        Phase.RESTORE,
        Phase.FREEZE,
        Phase.INVOKE,
    ]
    assert follow(Phase.RESTORE, Turn.FAILED, Turn.INVOKE)[1:] == [Phase.RESET, Phase.INVOKE]


@pytest.mark.parametrize(
    "phase", [Phase.INIT, Phase.FREEZE, Phase.INVOKE, Phase.RESET, Phase.RESTORE]
)
def test_every_living_phase_can_be_stopped(phase: Phase) -> None:
    assert follow(phase, Turn.STOP, Turn.GONE)[1:] == [Phase.SHUTDOWN, Phase.CLOSED]


def test_all_else_is_refused_and_named() -> None:
    refused = [(p, t) for p in Phase for t in Turn if (p, t) not in TRANSITIONS]
    for phase, turn in refused:
        with pytest.raises(PhaseError, match=f"phase {phase.value} cannot take: {turn.value}"):
            advance(phase, turn)
    assert len(refused) == len(Phase) * len(Turn) - 16


@pytest.mark.parametrize(
    ("has_internal", "has_external", "plan"),
    [
        (False, False, ShutdownPlan(0.0, 0.0)),
        (True, False, ShutdownPlan(0.5, 0.5)),
        (False, True, ShutdownPlan(0.3, 2.0)),
        (True, True, ShutdownPlan(0.3, 2.0)),
    ],
)
def test_the_time_to_shut_down_depends_on_the_kind_of_extensions(
    has_internal: bool, has_external: bool, plan: ShutdownPlan
) -> None:
    assert shutdown_plan(has_internal=has_internal, has_external=has_external) == plan
