"""How much memory an execution environment has used at most, from /proc.

The runtime's own peak is the kernel's high-water mark (VmHWM), so nothing is missed between
samples. Other processes of the environment count with their proportional share (Pss) at the
moment of a sample, so pages shared after a fork are counted once. A control group's own peak is not
used: it has the files in a /tmp in memory, and the page cache of whatever was read.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

LOOK_AGAIN_S = (
    0.02  # a child that lives shorter is part of some longer invoke, or too small to matter
)
_BUFFER_BYTES = 4096


class PeakMemory:
    """The highest memory seen, in bytes, of the processes below `pids` (process group leaders)."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._leaders: dict[int, int] = {}
        self._children_bytes = 0
        self._looked_at = 0.0

    def watch(self, pid: int) -> None:
        """Adds a process to measure; its descendants are found by themselves."""
        self._leaders[pid] = os.open(f"/proc/{pid}/status", os.O_RDONLY)

    def close(self) -> None:
        """Forgets the processes; the peak stays."""
        for descriptor in self._leaders.values():
            os.close(descriptor)
        self._leaders.clear()

    def sample(self) -> int:
        """Measures now and gives the peak so far, in bytes; processes that have gone count 0."""
        total = 0
        for descriptor in self._leaders.values():
            try:
                total += _high_water_bytes(os.pread(descriptor, _BUFFER_BYTES, 0))
            except ProcessLookupError:
                continue
        total += self._children()
        self.peak_bytes = max(self.peak_bytes, total)
        return self.peak_bytes

    def reached(self, used_bytes: int) -> None:
        """Takes note of memory that processes had who are no more."""
        self.peak_bytes = max(self.peak_bytes, used_bytes)

    def _children(self) -> int:
        """Memory of descendants, looked up every LOOK_AGAIN_S: it costs five samples."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_AGAIN_S:
            self._looked_at = now
            found = (child for pid in self._leaders for child in descendants(pid))
            self._children_bytes = sum(map(_proportional_bytes, found))
        return self._children_bytes


def _high_water_bytes(status: bytes) -> int:
    start = status.find(b"VmHWM:")
    if start < 0:
        return 0  # a zombie has no memory
    return int(status[start + 6 : status.index(b"kB", start)]) * 1024


def _proportional_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
    except OSError:
        return 0
    start = text.find(b"Pss:")
    return 0 if start < 0 else int(text[start + 4 : text.index(b"kB", start)]) * 1024


def descendants(pid: int) -> list[int]:
    """The ids of a process's children, their children and so on, as far as they can be seen."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names will do
            children = os.open(f"/proc/{pid}/task/{thread}/children", os.O_RDONLY)
            try:
                found += [int(child) for child in os.read(children, _BUFFER_BYTES).split()]
            finally:
                os.close(children)
    except OSError:
        return found
    for child in list(found):
        found += descendants(child)
    return found
