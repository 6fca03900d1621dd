"""What we know from the runtime client: what becomes of an answer, and when it has been posted.

The client calls a handler as a plain function and writes what it returns as JSON. It lets authors
replace what does that, `LambdaRuntimeClient.marshaller`, and there is the one place where it can
be told that nobody is going to await a coroutine: decorators above ours may do it, as `asyncio.run`
does, and then must get the coroutine. When the client asks for the next event, the answer to the
last has been posted, and the caller has it: Lambda passes it on at once, and freezes the
environment only when the next event has been asked for. The stack trace that it answers an error
with is that of the function alone.
Source: awslambdaric, `BaseLambdaRuntimeClient.marshaller` and `wait_next_invocation`; Lambda
Developer Guide, "Understanding the Lambda execution environment lifecycle".
"""

from __future__ import annotations

import _thread
import sys
from functools import wraps

from lambdatrace import telemetry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.telemetry import Telemetry

_CLIENT = "awslambdaric.lambda_runtime_client"
_BOOTSTRAP = "awslambdaric.bootstrap"
_MARK = "__lambdatrace_watched__"


def watch_responses() -> None:
    """Have the runtime client, where there is one, answer through us from now on."""
    owner = _client_class()
    marshaller = getattr(owner, "marshaller", None)
    if marshaller is not None and not isinstance(marshaller, WatchedMarshaller):
        owner.marshaller = WatchedMarshaller(marshaller)
    hide_our_frames()


def hide_our_frames() -> None:
    """Have the stack trace of an error, which callers and the log get, as if we were not there.

    Our frames are in it wherever a decorator stands, and only the client's first are left out.
    Source: awslambdaric, `bootstrap.extract_traceback`, a list of (file, line, function, source).
    """
    bootstrap: Any = sys.modules.get(_BOOTSTRAP)
    extract = getattr(bootstrap, "extract_traceback", None)
    if extract is None or getattr(extract, _MARK, False):
        return

    def extract_traceback(traceback: Any) -> Any:
        frames = extract(traceback)
        kept = telemetry.current().guard.run(without_ours, frames)
        return frames if kept is None else kept

    setattr(extract_traceback, _MARK, True)
    bootstrap.extract_traceback = extract_traceback


def without_ours(frames: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Without the frames in our files, and those of asyncio's by which we run a coroutine."""
    own = without_ours.__code__.co_filename.rpartition("runtime_client")[0]
    examples = f"{own}cli/"  # the demo's functions
    # The module is there wherever a frame of it is.
    loop = getattr(sys.modules.get("asyncio"), "__file__", None) or ""
    event_loop = loop.rpartition("__init__")[0] or own
    kept, is_within = [], False
    for frame in frames:
        file = frame[0]
        if file.startswith(own) and not file.startswith(examples):
            is_within = True
        elif not (is_within and file.startswith(event_loop)):
            is_within = False
            kept.append(frame)
    return kept


def watch_next() -> bool:
    """Have us told before the runtime client asks for an event; False if there is no such client.

    Where a handler is run by another client, the answer is out at a time that nobody tells. Ours
    stands in the class that is used, before what others have put, or will put, into the one above.
    """
    owner: Any = getattr(sys.modules.get(_CLIENT), "LambdaRuntimeClient", None)
    ask = getattr(owner, "wait_next_invocation", None)
    if not callable(ask):
        return False
    if getattr(ask, _MARK, False):
        return True
    own = vars(owner).get("wait_next_invocation")

    @wraps(ask)
    def wait_next_invocation(client: Any) -> Any:
        current = telemetry.installed()
        if current is not None:
            current.guard.run(current.runtime_asks_for_next)
        return own(client) if own is not None else super(owner, client).wait_next_invocation()

    setattr(wait_next_invocation, _MARK, True)
    owner.wait_next_invocation = wait_next_invocation
    _watch_failed_init(_client_class())
    return True


def _watch_failed_init(owner: Any) -> None:
    """Have us told when the client reports that the function's module could not be imported."""
    post = getattr(owner, "post_init_error", None)
    if not callable(post):
        return

    @wraps(post)
    def post_init_error(client: Any, answer: Any, *more: Any, **options: Any) -> Any:
        current = telemetry.installed()
        if current is not None and current.is_active:
            from lambdatrace.failed_init import report_answer

            current.guard.run(report_answer, current, answer)
        return post(client, answer, *more, **options)

    owner.post_init_error = post_init_error


def _client_class() -> Any:
    client = sys.modules.get(_CLIENT)
    owner = getattr(client, "LambdaRuntimeClient", None)
    return getattr(client, "BaseLambdaRuntimeClient", owner)  # from awslambdaric 4 on


class WatchedMarshaller:
    """The runtime client's `marshaller`, with our look at what it is given and what it refuses."""

    __slots__ = ("_marshaller", "unmarshal_request")

    def __init__(self, marshaller: Any) -> None:
        self._marshaller = marshaller
        self.unmarshal_request = marshaller.unmarshal_request

    def __getattr__(self, name: str) -> Any:
        return getattr(self._marshaller, name)

    def marshal_response(self, response: Any) -> Any:
        """Body and content type of the answer; raises what the handler's coroutine raises."""
        if hasattr(type(response), "__await__"):
            from lambdatrace.event_loop import run

            response = run(response)
        try:
            return self._marshaller.marshal_response(response)
        except Exception as error:
            current = telemetry.current()
            current.guard.run(_note_refusal, current, response, error)
            raise


def _note_refusal(current: Telemetry, response: Any, error: Exception) -> None:
    """Record in the invocation of this thread that its answer could not be written."""
    error_type = getattr(error, "exception_type", "")  # `Runtime.MarshalError`
    from lambdatrace.generators import unstarted_scope

    scope = unstarted_scope(response)
    if scope is not None:
        with scope:
            scope.refuse(error, error_type)
        return
    for running in [*current.ended, *current.running_now.values(), current.running]:
        if running is not None and running.thread == _thread.get_ident():
            running.refuse(error, error_type)
            return
