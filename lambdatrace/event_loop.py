"""The event loop on which the runtime's thread runs handlers that are coroutines.

One for each environment: what a handler leaves running goes on in the next invocation, and what is
bound to the loop, a client with open connections for one, can be used again. Loaded with the first
coroutine, since importing asyncio takes 24 ms.
"""

from __future__ import annotations

import asyncio
import os
import threading
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any


class _Own(threading.local):
    """The loop of this thread, and the process that it was made in: a fork must not share it."""

    loop: asyncio.AbstractEventLoop | None = None
    process_id = 0


_own = _Own()


def run(awaitable: Awaitable[Any]) -> Any:
    """What `awaitable` gives, or raises. Within a running loop, `awaitable` itself."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _loop().run_until_complete(awaitable)
    return awaitable


def _loop() -> asyncio.AbstractEventLoop:
    loop = _own.loop
    if loop is None or loop.is_closed() or _own.process_id != os.getpid():
        is_forked = _own.process_id not in (0, os.getpid())
        loop = asyncio.new_event_loop() if is_forked else _current_loop()
        asyncio.set_event_loop(loop)
        _own.loop, _own.process_id = loop, os.getpid()
    return loop


def _current_loop() -> asyncio.AbstractEventLoop:
    """The loop that the function's module has set while it was imported, or a new one."""
    with warnings.catch_warnings():
        # Where none is set, Python 3.12 and 3.13 make one and warn, and 3.14 raises.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError:
            return asyncio.new_event_loop()
    return asyncio.new_event_loop() if loop.is_closed() else loop
