"""The pytest fixtures, found by pytest through the entry point `pytest11`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambdatrace.testing import Recorded


@pytest.fixture
def lambdatrace_recording() -> Iterator[Recorded]:
    """`lambdatrace.testing.recording()` around the test."""
    from lambdatrace.testing import recording

    with recording() as recorded:
        yield recorded
