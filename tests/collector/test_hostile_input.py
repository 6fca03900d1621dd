"""What decoders and grammars do with input that is broken: refuse it, in time, and nothing else.

The long run is `python -m benchmarks.collector_hostile`; here each target gets a few hundred.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmarks.collector_hostile import mistake
from benchmarks.hostile.targets import TARGETS, Target, register

short = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", TARGETS)
@short
@given(seed=st.integers(0, 2**64))
def test_broken_valid_input_is_taken_or_refused(name: str, seed: int) -> None:
    target = TARGETS[name]
    assert mistake(target, target.mutate(Random(seed), target.seeds)) is None


@pytest.mark.parametrize("name", TARGETS)
@short
@given(content=st.binary(max_size=2000))
@example(content=b"")
@example(content=b"[" * 100_000)
@example(content=b"(" * 2000)
@example(content=b"\x81" * 100_000)
@example(content=b'{"a":' * 100_000)
@example(content=b"9" * 20_000)
@example(content=b"\xff" * 1000)
@example(content=b'{"\\ud800": {"\\ud800": "\\udfff"}}')
def test_any_bytes_are_taken_or_refused(name: str, content: bytes) -> None:
    assert mistake(TARGETS[name], content) is None


@pytest.mark.parametrize("name", TARGETS)
def test_valid_input_is_taken(name: str) -> None:
    """Else its mutations would all be refused at the first byte."""
    for content in TARGETS[name].seeds:
        TARGETS[name].read(content)


def test_a_mistake_and_a_hang_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.collector_hostile.INPUT_DEADLINE_S", 0.05)

    def fail(content: bytes) -> object:
        return content[5]

    def hang(_content: bytes) -> object:
        while True:
            pass

    assert mistake(Target("fails", fail, [b""]), b"") == "IndexError: index out of range"
    assert mistake(Target("hangs", hang, [b""]), b"") == "HangError: took over 0.05 s"


def test_a_target_is_registered_once() -> None:
    known = next(iter(TARGETS.values()))
    with pytest.raises(ValueError, match="there is a target"):
        register(known)
