"""What is given hostile input, by name. A decoder or grammar is one `register` away.

A target takes bytes and returns, or raises one of `refusals`: the errors that its caller turns into
an answer to the client. Anything else is a mistake, and so is taking too long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.hostile.mutation import mutated
from lambdatrace_collector.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random


@dataclass(frozen=True)
class Target:
    """A decoder or grammar. `seeds` are valid inputs, which are broken in many ways."""

    name: str
    read: Callable[[bytes], object]
    seeds: Sequence[bytes]
    refusals: tuple[type[Exception], ...] = (RequestError,)
    mutate: Callable[[Random, Sequence[bytes]], bytes] = mutated


TARGETS: dict[str, Target] = {}


def register(target: Target) -> None:
    """Add `target` to those of the harness and of the tests."""
    if target.name in TARGETS:
        raise ValueError(f"there is a target {target.name!r} already: choose another name")
    TARGETS[target.name] = target


def as_text(read: Callable[[str], object], characters_max: int) -> Callable[[bytes], object]:
    """A target of text: what reaches it is text of the length that the API's model allows, since
    the protocols before it refuse the rest.
    """

    def read_bytes(content: bytes) -> object:
        return read(content.decode("utf-8", "replace")[:characters_max])

    return read_bytes
