"""The harness's own file descriptors: as many as it may have, and one line when none is left."""

from __future__ import annotations

import errno
import logging
import resource
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

# An environment takes about ten, and a caller's connection two. No more than this: where the hard
# limit is a billion, programs we start that close all they could have would be at it for minutes.
WANTED = 65_536
SAID_AGAIN_S = 10.0

_log = logging.getLogger("lambdatrace.harness")


def raise_limit() -> None:
    """Has this process open as many files as it may without a privilege."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def is_none_left(error: BaseException | None) -> bool:
    """Whether an error says that this process, or the machine, can open no more files."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


class AcceptFailures:
    """An event loop's exception handler: lack of descriptors is said in a line now and then.

    asyncio tells of it for each place in a listener's queue, every second.
    """

    def __init__(self) -> None:
        self._said_at = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Part of asyncio: `set_exception_handler`."""
        error = context.get("exception")
        if not is_none_left(error):
            # It tries again in a second, be the listener closed by then.
            is_late = isinstance(error, ValueError) and str(error) == "Invalid file descriptor: -1"
            if not (is_late and self._said_at > 0):
                loop.default_exception_handler(context)
        elif not self._said_at or loop.time() - self._said_at >= SAID_AGAIN_S:
            self._said_at = loop.time()
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            _log.error(
                "no connection can be taken: %s. This process may open %d (ulimit -n)",
                error,
                limit,
            )
