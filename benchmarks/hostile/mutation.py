"""Inputs that are almost right: valid ones, broken at random. A seed gives the same each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

INPUT_BYTES_MAX = 200_000
REPEATS = (2, 20, 200, 2000, 20_000)
# What parsers trip over: numbers beyond every type, text that is none, brackets, escapes, names of
# values, ends of messages, lengths that promise too much.
TOKENS = (
    *(b"0", b"-1", b"-0", b"1e999", b"-1e400", b"1e-400", b"NaN", b"Infinity", b"-Infinity"),
    *(b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"2147483648"),
    *(b"9" * 400, b"9" * 5000, b"0." + b"0" * 400 + b"1", b"0x10", b"1_000", b"\xd9\xa1"),
    *(b"null", b"true", b"false", b'""', b"[]", b"{}", b"[", b"]", b"{", b"}", b"(", b")", b'"'),
    *(b"\\", b"\\u0000", b"\\ud800", b"\\udfff", b"\\x", b"%", b"%00", b"%ff", b"*", b"?", b"$"),
    *(b"\x00", b"\xff", b"\xfe\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xe2"),
    *(b"\xef\xbb\xbf", "\u202e".encode(), "\U0001f4a5".encode(), "e\u0301".encode(), b"\x7f"),
    *(b"\r\n", b"\n", b"\t", b" ", b",", b":", b";", b".", b"/", b"|", b"&", b"=", b"+", b"-"),
    *(b"member", b".member.", b".1.", b".0.", b".-1.", b"1" * 50, b"2026-02-30T25:61:61Z"),
    *(b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff", b"\x9f"),
    *(b"\xbf", b"\xc2", b"\xc1", b"\xd8\x1d", b"\xf7", b"\xf9\x7e\x00", b"\xfb\x7f\xf0\x00\x00"),
    *(b"\x1f\x8b\x08\x00", b"\xff\xff\xff\xff\x0f", b"\xff" * 10, b"\x80" * 12, b"__proto__"),
)


def mutated(random: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of `seeds` after one to eight mutations."""
    content = bytearray(random.choice(seeds))
    for _ in range(1 << random.randrange(4)):
        random.choice(_MUTATIONS)(random, content, seeds)
        if len(content) > INPUT_BYTES_MAX:
            del content[INPUT_BYTES_MAX:]
    return bytes(content)


def mutated_body(random: random.Random, seeds: Sequence[bytes]) -> bytes:
    """As `mutated`, for inputs whose first line is a head: three times in four it stays whole."""
    if not random.randrange(4):
        return mutated(random, seeds)
    head, _, body = random.choice(seeds).partition(b"\n")
    other = random.choice(seeds).partition(b"\n")[2]
    return head + b"\n" + mutated(random, (body, body, body, other))


def _place(random: random.Random, content: bytearray) -> tuple[int, int]:
    start = random.randrange(len(content) + 1)
    return start, min(len(content), start + random.choice((0, 1, 1, 2, 4, 16, 64)))


def _flip(random: random.Random, content: bytearray, _seeds: Sequence[bytes]) -> None:
    if content:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def _overwrite(random: random.Random, content: bytearray, _seeds: Sequence[bytes]) -> None:
    if content:
        content[random.randrange(len(content))] = random.randrange(256)


def _insert(random: random.Random, content: bytearray, _seeds: Sequence[bytes]) -> None:
    start, end = _place(random, content)
    content[start:end] = random.choice(TOKENS)


def _remove(random: random.Random, content: bytearray, _seeds: Sequence[bytes]) -> None:
    start, end = _place(random, content)
    del content[start:end]


def _truncate(random: random.Random, content: bytearray, _seeds: Sequence[bytes]) -> None:
    del content[random.randrange(len(content) + 1) :]


def _repeat(random: random.Random, content: bytearray, _seeds: Sequence[bytes]) -> None:
    start, end = _place(random, content)
    part = bytes(content[start:end])
    times = min(random.choice(REPEATS), INPUT_BYTES_MAX // max(1, len(part)))
    content[start:end] = part * times


def _nest(random: random.Random, content: bytearray, _seeds: Sequence[bytes]) -> None:
    start, end = _place(random, content)
    before, after = random.choice(
        ((b"[", b"]"), (b'{"a":', b"}"), (b"(", b")"), (b"\x81", b""), (b"-", b""), (b"!", b""))
    )
    times = random.choice(REPEATS)
    content[start:end] = before * times + bytes(content[start:end]) + after * times


def _splice(random: random.Random, content: bytearray, seeds: Sequence[bytes]) -> None:
    other = random.choice(seeds)
    start, end = _place(random, content)
    cut = random.randrange(len(other) + 1)
    content[start:end] = other[cut : cut + random.choice((1, 4, 16, 64, 256))]


_MUTATIONS: tuple[Callable[[random.Random, bytearray, Sequence[bytes]], None], ...] = (
    *(_flip, _overwrite, _insert, _insert, _insert, _remove, _truncate, _repeat, _nest, _splice),
)
