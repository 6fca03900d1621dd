"""The addresses of a host's name, in bounded time."""

from __future__ import annotations

import _socket
import _thread
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def look_up(host: str, port: int, deadline_s: float) -> list[Any]:
    """What `getaddrinfo` gives, of a host in ASCII letters. Raises OSError, of which TimeoutError
    is one, when the resolver takes too long.

    `deadline_s` is of `time.monotonic`. A resolver has no timeout of ours: it is asked in a thread
    that may be left behind.
    """
    # As bytes: for a str, getaddrinfo imports the IDNA codec, which costs 2 ms.
    name = host.encode()
    found: list[Any] = []
    done = _thread.allocate_lock()
    done.acquire()

    def ask() -> None:
        try:
            found.append(_socket.getaddrinfo(name, port, 0, _socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            found.append(error)
        finally:
            done.release()

    try:
        _thread.start_new_thread(ask, ())
    except RuntimeError as error:  # the process has all it may have, or is about to end
        raise OSError(f"no thread to look the name up in: {error}") from error
    if not done.acquire(timeout=max(0.0, deadline_s - time.monotonic())):
        raise TimeoutError
    if isinstance(found[0], Exception):
        raise found[0]
    addresses: list[Any] = found[0]
    return addresses
