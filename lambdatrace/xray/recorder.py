"""The X-Ray SDK's recorder, with the context and the emitter that lead to our spans."""

from __future__ import annotations

from aws_xray_sdk.core.async_recorder import AsyncAWSXRayRecorder

from lambdatrace import telemetry
from lambdatrace.xray.context import SpanContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def take_over(recorder: AsyncAWSXRayRecorder) -> None:
    """Let `recorder` record into our spans; a second time does nothing."""
    if isinstance(recorder, SpanRecorder):
        return
    context, emitter = recorder.context, recorder.emitter
    recorder.__class__ = SpanRecorder
    recorder.context, recorder.emitter = SpanContext(context), SpanEmitter(emitter)


class SpanRecorder(AsyncAWSXRayRecorder):  # type: ignore[misc] # the SDK is not typed
    """A recorder whose context and emitter stay ours, whatever `configure` is given.

    What it is given is used where lambdatrace is off.
    """

    @property
    def context(self) -> Any:
        """Ours."""
        return self._context

    @context.setter
    def context(self, value: Any) -> None:
        if isinstance(value, SpanContext):
            self._context = value
        else:
            self._context.theirs = value

    @property
    def emitter(self) -> Any:
        """Ours."""
        return self._emitter

    @emitter.setter
    def emitter(self, value: Any) -> None:
        if isinstance(value, SpanEmitter):
            self._emitter = value
        else:
            self._emitter.theirs = value


class SpanEmitter:
    """Sends nothing: a subsegment's span is sent by our own sink. For the rest it is theirs."""

    def __init__(self, theirs: Any) -> None:
        self.theirs = theirs

    def send_entity(self, entity: Any) -> None:
        """Nothing, unless lambdatrace is off."""
        current = telemetry.installed()
        if current is None or not current.is_active:
            self.theirs.send_entity(entity)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.theirs, name)
