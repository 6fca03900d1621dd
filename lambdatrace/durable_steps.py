"""The steps of a durable execution as spans, by the plugin interface of AWS's SDK.

A step that an earlier invocation has completed is not run again, so it gives no span again. What
the handler itself does between steps is done again in each replay: spans that begin and end before
the first operation that is new are left out, since the invocation that did it first has sent them.
A span that began in the replay and goes on after it is marked. With operations that run in parallel
the first new one ends the replay for all of them.
Source: `aws-durable-execution-sdk-python` 3.0, `plugin.py`.
"""

from __future__ import annotations

import sys

from lambdatrace import telemetry
from lambdatrace.durable import operation_span_id
from lambdatrace.records import ERROR, Span, SpanContext
from lambdatrace.tracing import activate, deactivate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_MARK = "__lambdatrace_loads_plugin__"
# Types of operations that run no code of the function's.
WAITED_FOR = ("WAIT", "CALLBACK", "CHAINED_INVOKE")
_PLUGIN_MODULE = "aws_durable_execution_sdk_python.plugin"


def attach(module: ModuleType) -> None:
    """Have every handler that `module.durable_execution` decorates load our plugin too; once."""
    load: Any = vars(module)["load_configured_plugins"]
    if getattr(load, _MARK, False):
        return
    base: Any = vars(sys.modules[_PLUGIN_MODULE])["DurableInstrumentationPlugin"]
    # Its class must be a subclass of theirs, which is not there before they are loaded.
    plugin_class = type("StepPlugin", (StepHooks, base), {})

    class Factory:
        """Makes a plugin for each invocation."""

        def create_plugin(self, _info: Any, /) -> Any:
            """The plugin of one invocation."""
            return plugin_class()

    def load_with_ours(*arguments: Any, **keywords: Any) -> Any:
        return [*load(*arguments, **keywords), Factory()]

    setattr(load_with_ours, _MARK, True)
    vars(module)["load_configured_plugins"] = load_with_ours


class StepHooks:
    """What AWS's SDK calls in one invocation; it guards each call."""

    def __init__(self) -> None:
        current = telemetry.current()
        self._tracer = current.tracer
        self._spans = current.tracer.spans()
        self._execution_arn = ""
        self._open: dict[Any, Any] = {}  # operation and attempt → its span, and how to leave it

    def on_invocation_start(self, info: Any) -> None:
        """All that comes before the first new operation is a replay, unless it is the first."""
        self._execution_arn = str(info.execution_arn)
        if self._spans.invocation is not None:
            self._spans.replay_ns = 0 if info.is_first_invocation else self._tracer.now_ns()

    def on_operation_start(self, info: Any) -> None:
        """An operation is new, or was under way when the last invocation ended."""
        self._go_on(info)

    def on_operation_end(self, info: Any) -> None:
        """An operation has ended in this invocation, or since the last one.

        What was waited for is a span of its own; seen by two invocations, one with the same id.
        """
        self._go_on(info)
        root = self._spans.root()
        is_known = info.start_time is not None and info.end_time is not None
        if info.operation_type.value not in WAITED_FOR or root is None or not is_known:
            return
        context = SpanContext(
            root.context.trace_id,
            operation_span_id(self._execution_arn, info.operation_id),
            is_sampled=root.context.is_sampled,
        )
        span = Span(
            _name(info),
            context,
            # Beside the invocations, of which it outlasts those before.
            root.parent or root.context,
            int(info.start_time.timestamp() * 1e9),
            attributes=_attributes(info),
        )
        span.set_attribute("durable.operation.status", info.status.value)
        if info.error is not None:
            _set_error(span, info.error)
        span.end(int(info.end_time.timestamp() * 1e9))
        self._tracer.record(span)

    def on_user_function_start(self, info: Any) -> None:
        """The code of a step, or of a child context, runs."""
        self._go_on(info)
        if info.is_replay_children:
            return
        span = self._tracer.start_span(_name(info), attributes=_attributes(info))
        self._open[info.operation_id, info.attempt] = span, activate(span)

    def on_user_function_end(self, info: Any) -> None:
        """The code of a step, or of a child context, has ended."""
        found = self._open.pop((info.operation_id, info.attempt), None)
        if found is None:
            return
        span, token = found
        deactivate(token)
        span.set_attribute("durable.attempt.outcome", info.outcome.value)
        if info.error is not None:
            _set_error(span, info.error)
        self._tracer.end_span(span)

    def _go_on(self, info: Any) -> None:
        # A child context runs again in each replay, whatever is in it.
        if self._spans.replay_ns and info.operation_type.value != "CONTEXT":
            self._spans.end_replay()


def _name(info: Any) -> str:
    return str(info.name or info.operation_type.value.lower())


def _attributes(info: Any) -> dict[str, Any]:
    attributes = {
        "durable.operation.id": info.operation_id,
        "durable.operation.type": info.operation_type.value,
        "durable.operation.name": info.name,
        "durable.attempt.number": info.attempt,
    }
    return {key: value for key, value in attributes.items() if value is not None}


def _set_error(span: Span, error: Any) -> None:
    span.set_attribute("error.type", str(error.type))
    span.set_status(ERROR, str(error.message))
