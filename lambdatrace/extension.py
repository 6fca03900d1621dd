"""The internal extension: a thread that Lambda waits for before it freezes the environment.

It registers for INVOKE while the function initializes. For each invocation it waits until the
handler has ended and the runtime has posted the response, lets the records be sent, and only then
asks for the next event, so that the environment is frozen when the data is out. It is the watchdog
too: an invocation that nears its deadline gets its open spans sent before Lambda kills it.
Source: Lambda Developer Guide, "Lambda Extensions API"; internal extensions may register for
INVOKE alone.
"""

from __future__ import annotations

import _thread
import json
import sys
import time

from lambdatrace.errors import SendError
from lambdatrace.flushing import watchdog_ns
from lambdatrace.http1 import Address, Connection, get_message, post_head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from lambdatrace.clock import Clock

    class InvocationListener(Protocol):
        """Who is told what to send."""

        def registered(self) -> None:
            """The environment is still initializing: send what one before has left."""
            ...

        def invocation_ended(self) -> None:
            """The response of an invocation is out: write and send what waits."""
            ...

        def extension_lost(self) -> None:
            """The Extensions API is gone for good: send before the response from now on."""
            ...

        def invocation_times_out(self, deadline_ns: int) -> None:
            """The handler runs and `deadline_ns` is near: send what is open."""
            ...


NAME = "lambdatrace"
NOT_REGISTERED = "spans are sent before the response, as the internal extension cannot register"
LOST = "spans are sent before the response, as the internal extension lost the Extensions API"
_API = "/2020-01-01/extension"
_READ_AFTER_S = 0.02  # most handlers have ended by then; the watchdog's margin is never below it
_OK = 200
_REGISTER_S_MAX = 2.0

# The runtime client's function around handler and response; while it is on the main thread's
# stack, the response is not out yet. Sending earlier would take the interpreter lock from it.
_RUNTIME_FUNCTION = "handle_event_request"
_RESPONSE_POLL_S = 0.0002
_RESPONSE_WAIT_S_MAX = 5.0

# An invocation whose handler never began (the runtime could not read the event, or runs another
# handler than the instrumented one) ends without a word to us. Looked for after the first of these
# times, then twice as long each time up to the last, so that its environment is not held until the
# deadline.
_UNSTARTED_CHECK_S_FIRST = 0.05
_UNSTARTED_CHECK_S_MAX = 1.0


class InternalExtension:
    """Registers in a thread of its own; `is_registered` tells, once that is decided."""

    __slots__ = (
        "_address",
        "_clock",
        "_connection",
        "_decided",
        "_ended",
        "_ended_request_id",
        "_identifier",
        "_is_registered",
        "_listener",
        "_main_thread",
        "_on_error",
        "is_suspended",
        "may_reconnect",
        "started_request_id",
    )

    def __init__(
        self, runtime_api: str, listener: InvocationListener, clock: Clock, on_error: Any
    ) -> None:
        self._address = Address("http://" + runtime_api)
        self._connection = Connection(self._address)
        self._listener = listener
        self._clock = clock
        self._on_error = on_error
        self._identifier = ""
        self._is_registered = False
        self._main_thread = _thread.get_ident()
        # Two locks as signals, held until what they stand for has happened.
        self._decided = _thread.allocate_lock()
        self._decided.acquire()
        self._ended = _thread.allocate_lock()
        self._ended.acquire()
        self._ended_request_id: str | None = None
        self.started_request_id: str | None = None
        # Whether the handler may wait while nothing runs: a generator between items, a coroutine.
        self.is_suspended = False
        self.may_reconnect = False  # once, after a restore that cost the connection

    def start(self) -> None:
        """Begin to register; the function's own imports go on meanwhile."""
        _thread.start_new_thread(self._run, ())

    def is_registered(self) -> bool:
        """Whether Lambda waits for us; waits, at most two seconds, until that is decided.

        Must have been asked before the runtime asks for its first event: registration closes then.
        """
        if self._decided.acquire(timeout=_REGISTER_S_MAX):
            self._decided.release()
        else:
            self._on_error(NOT_REGISTERED, f"no answer within {_REGISTER_S_MAX:.0f} s")
        return self._is_registered

    def end_invocation(self, request_id: str) -> None:
        """Say that the handler of this request has ended."""
        self._ended_request_id = request_id
        if self._ended.locked():
            self._ended.release()

    def _run(self) -> None:
        try:
            self._attend_all()
        finally:
            self._connection.close()

    def _attend_all(self) -> None:
        try:
            self._is_registered = self._register()
        except SendError as error:
            self._on_error(NOT_REGISTERED, error)
        finally:
            self._decided.release()
        if self._is_registered:
            try:
                self._listener.registered()
            except BaseException as error:  # noqa: BLE001 - Lambda waits until we ask for the next
                self._on_error("the internal extension", error)
        next_event = get_message(
            self._address, _API + "/event/next", {"Lambda-Extension-Identifier": self._identifier}
        )
        while self._is_registered:
            try:
                event, has_ended = self._next_event(next_event)
            except BaseException as error:  # noqa: BLE001 - Lambda would wait for a dead thread
                if self.may_reconnect:
                    self.may_reconnect = False
                    self._connection.close()
                    if self._ended.locked():
                        self._ended.release()  # an end that came meanwhile is still to be seen
                    continue
                self._is_registered = False
                self._on_error(LOST, error)
                self._listener.extension_lost()
                return
            try:
                if not has_ended:
                    self._attend(event)
                self._wait_for_response()
                self._listener.invocation_ended()
            except BaseException as error:  # noqa: BLE001 - Lambda waits until we ask for the next
                self._on_error("the internal extension", error)

    def _next_event(self, message: bytes) -> tuple[bytes, bool]:
        """The next event as it came, and whether its handler has ended already."""
        self._connection.begin(message)
        # The runtime's thread has its event in the same moment and needs the interpreter: stay off
        # it, without so much as reading ours, while a fast handler runs.
        has_ended = self._ended.acquire(timeout=_READ_AFTER_S)
        response = self._connection.finish()
        if response.status != _OK:
            raise SendError(f"HTTP {response.status} {response.body[:200]!r}")
        return response.body, has_ended and (self._ended_request_id or "").encode() in response.body

    def _register(self) -> bool:
        headers = {"Lambda-Extension-Name": NAME, "Content-Type": "application/json"}
        response = self._connection.post(
            post_head(self._address, _API + "/register", headers),
            b'{"events":["INVOKE"]}',
            _REGISTER_S_MAX,
        )
        self._identifier = response.header(b"lambda-extension-identifier")
        if response.status != _OK or not self._identifier:
            raise SendError(f"HTTP {response.status} {response.body[:200]!r}")
        return True

    def _attend(self, body: bytes) -> None:
        """See an invocation through whose handler has not ended yet, as its watchdog."""
        event = json.loads(body)
        request_id = str(event.get("requestId"))
        deadline_ns = int(event.get("deadlineMs", 0)) * 1_000_000
        warn_ns = watchdog_ns(self._clock.time_ns(), deadline_ns)
        if not self._wait_for_end(request_id, warn_ns):
            self._listener.invocation_times_out(deadline_ns)
            self._wait_for_end(request_id, deadline_ns)

    def _wait_for_end(self, request_id: str, until_ns: int) -> bool:
        """Whether the handler has ended, or will never begin, before `until_ns`."""
        check_s = _UNSTARTED_CHECK_S_FIRST
        while True:
            left_s = (until_ns - self._clock.time_ns()) / 1e9
            if left_s <= 0:
                return False
            if self._ended.acquire(timeout=min(left_s, check_s)):
                if self._ended_request_id in (request_id, ""):
                    return True
                continue
            check_s = min(check_s * 2, _UNSTARTED_CHECK_S_MAX)
            has_begun = self.started_request_id in (request_id, "") and not self.is_suspended
            if not has_begun and not self._is_runtime_busy():
                return True

    def _wait_for_response(self) -> None:
        until_s = time.monotonic() + _RESPONSE_WAIT_S_MAX
        while self._is_runtime_busy() and time.monotonic() < until_s:
            time.sleep(_RESPONSE_POLL_S)

    def _is_runtime_busy(self) -> bool:
        """Whether the main thread is between receiving an event and having posted its answer."""
        frame = sys._current_frames().get(self._main_thread)  # noqa: SLF001 - the documented name
        while frame is not None:
            if frame.f_code.co_name == _RUNTIME_FUNCTION:
                return True
            frame = frame.f_back
        return False
