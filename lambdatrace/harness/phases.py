"""The life of an execution environment, as one table.

AWS Lambda runs an environment through Init, Invoke and Shutdown; between invokes it is frozen,
and after a failed invoke it is reset: the processes are gone, /tmp stays, and the next invoke
starts them again inside itself (a suppressed init).
Source: AWS Lambda developer guide, "Understanding the Lambda execution environment lifecycle".

            ┌───────────── invoke ──────────────┐
            ▼                                   │
  INIT ─▶ FREEZE ── invoke ──▶ INVOKE ── idle ──┘
    │        │                   │  ▲
    └ failed │            failed │  │ invoke (suppressed init)
       │     └── stop ──┐        ▼  │
       └────────────────┼──────▶ RESET ── stop ──▶ SHUTDOWN ── gone ──▶ CLOSED
                        └───────────────────────────▶

A snapshot (SnapStart) is restored once, before its first event: FREEZE ── restore ──▶ RESTORE
── idle ──▶ FREEZE, or, when a hook fails, RESET.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from lambdatrace.harness.errors import PhaseError

INIT_LIMIT_S = 10.0  # on-demand init; beyond it Lambda starts again inside the first invoke
INIT_AHEAD_LIMIT_S = 130.0  # at least, where no request waits for it
RESTORE_LIMIT_S = 10.0  # after-restore hooks included
INTERNAL_ONLY_SHUTDOWN_S = 0.5  # SIGTERM to SIGKILL when only internal extensions are registered
EXTERNAL_RUNTIME_SHUTDOWN_S = 0.3  # the runtime's share when external extensions wait behind it
EXTERNAL_SHUTDOWN_S = 2.0  # all of the shutdown phase when an external extension is registered


def init_ahead_limit_s(timeout_s: float) -> float:
    """The limit of an init that no request waits for, by the function's timeout."""
    return max(INIT_AHEAD_LIMIT_S, timeout_s)


class Phase(enum.Enum):
    """Where an environment is in its life."""

    INIT = "init"
    FREEZE = "freeze"
    INVOKE = "invoke"
    RESET = "reset"
    RESTORE = "restore"
    SHUTDOWN = "shutdown"
    CLOSED = "closed"


class Turn(enum.Enum):
    """What moves an environment from one phase to another."""

    ALL_IDLE = "the runtime and every extension asked for the next event"
    INVOKE = "an event is given to the environment"
    RESTORE = "an event needs the environment, which is a snapshot"
    FAILED = "timeout, exit, crash or init failure"
    STOP = "idle for too long, or the harness stops"
    GONE = "no process is left"


TRANSITIONS: dict[tuple[Phase, Turn], Phase] = {
    (Phase.INIT, Turn.ALL_IDLE): Phase.FREEZE,
    (Phase.INIT, Turn.FAILED): Phase.RESET,
    (Phase.INIT, Turn.STOP): Phase.SHUTDOWN,
    (Phase.FREEZE, Turn.INVOKE): Phase.INVOKE,
    (Phase.FREEZE, Turn.RESTORE): Phase.RESTORE,
    (Phase.FREEZE, Turn.FAILED): Phase.RESET,
    (Phase.FREEZE, Turn.STOP): Phase.SHUTDOWN,
    (Phase.INVOKE, Turn.ALL_IDLE): Phase.FREEZE,
    (Phase.INVOKE, Turn.FAILED): Phase.RESET,
    (Phase.INVOKE, Turn.STOP): Phase.SHUTDOWN,
    (Phase.RESTORE, Turn.ALL_IDLE): Phase.FREEZE,
    (Phase.RESTORE, Turn.FAILED): Phase.RESET,
    (Phase.RESTORE, Turn.STOP): Phase.SHUTDOWN,
    (Phase.RESET, Turn.INVOKE): Phase.INVOKE,
    (Phase.RESET, Turn.STOP): Phase.SHUTDOWN,
    (Phase.SHUTDOWN, Turn.GONE): Phase.CLOSED,
}


def advance(phase: Phase, turn: Turn) -> Phase:
    """The phase that follows `phase` on `turn`. Raises PhaseError where the table has no entry."""
    following = TRANSITIONS.get((phase, turn))
    if following is None:
        raise PhaseError(f"an environment in phase {phase.value} cannot take: {turn.value}")
    return following


@dataclass(frozen=True)
class ShutdownPlan:
    """How the processes of an environment are ended, in seconds from the start of the shutdown.

    `runtime_grace_s` is the time between SIGTERM and SIGKILL for the runtime (0: SIGKILL at once);
    `total_s` is when external extensions, told by a SHUTDOWN event, are killed as well.
    """

    runtime_grace_s: float
    total_s: float


def shutdown_plan(*, has_internal: bool, has_external: bool) -> ShutdownPlan:
    """The budget for ending an environment, by the kind of extensions registered in it.

    Source: AWS Lambda developer guide, "Shutdown phase": 0 ms without extensions, 500 ms with
    internal ones only, 2,000 ms (300 of them for the runtime) with external ones.
    """
    if has_external:
        return ShutdownPlan(EXTERNAL_RUNTIME_SHUTDOWN_S, EXTERNAL_SHUTDOWN_S)
    if has_internal:
        return ShutdownPlan(INTERNAL_ONLY_SHUTDOWN_S, INTERNAL_ONLY_SHUTDOWN_S)
    return ShutdownPlan(0.0, 0.0)
