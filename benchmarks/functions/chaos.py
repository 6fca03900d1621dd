"""A function that does what the event says: `do` names a behaviour, `n` marks what it prints."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from typing import Any, NoReturn

LINES = 500
LINE_CHARACTERS = 4_000  # one write that the kernel does not divide (PIPE_BUF)
ALLOCATED_BYTES = 8 * 1024 * 1024


def handler(event: dict[str, Any], context: object) -> int:
    say(f"begin {event['n']}")
    with tempfile.NamedTemporaryFile(prefix="chaos-", delete=False) as file:
        file.write(b"left behind")
    return BEHAVIOURS[event["do"]](event["n"])


def say(line: str) -> None:
    """One line in one write: what a process and a child of an earlier invoke print otherwise may
    come in pieces, mixed.
    """
    os.write(1, f"{line}\n".encode())


def answer(n: int) -> int:
    return n


def fail(n: int) -> NoReturn:
    raise ValueError(n)


def leave(n: int) -> NoReturn:
    os._exit(3)


def leave_by_exception(n: int) -> NoReturn:
    sys.exit(4)


def hang(n: int) -> NoReturn:
    while True:
        time.sleep(600)


def allocate(n: int) -> NoReturn:
    """Beyond the memory size, a piece at a time."""
    pieces = []
    while True:
        pieces.append(b"\1" * ALLOCATED_BYTES)
        time.sleep(0.005)


def fork(n: int) -> int:
    """A child that outlives the handler, in the group or in a session of its own."""
    if os.fork() == 0:
        if n % 2:
            os.setsid()
        say(f"child {n}")
        time.sleep(0.05 if n % 3 else 600)
        os._exit(0)
    return n


def print_much(n: int) -> int:
    """Megabytes, in long lines that are told apart."""
    for line in range(LINES):
        say(f"line {n} {line} ".ljust(LINE_CHARACTERS, "."))
    return n


BEHAVIOURS = {
    "return": answer,
    "raise": fail,
    "exit": leave,
    "sys.exit": leave_by_exception,
    "timeout": hang,
    "allocate": allocate,
    "fork": fork,
    "print": print_much,
}
