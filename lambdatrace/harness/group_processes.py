"""The processes in a control group: all that an environment started, whatever session they made.

A process can leave its process group and drop its environment variables, and then only its control
group says whose it is.
"""

# The supervisor imports this too: the standard library only, and os because it is loaded already.
# ruff: noqa: PTH118, PTH208

from __future__ import annotations

import contextlib
import os
import signal
import time

KILL_S = 2.0  # from SIGKILL to the end of all processes, on a machine that is swapping
LOOK_AGAIN_S = 0.002
READ_BYTES = 4096


def processes(folder: str) -> list[int]:
    """The ids of a group's processes; none for a group that has gone.

    What another namespace's processes have for ids here is 0, which is nobody's. It is read after
    each invoke, so without a file object: 8 us in place of 15.
    """
    found = b""
    try:
        descriptor = os.open(f"{folder}/cgroup.procs", os.O_RDONLY)
    except OSError:
        return []
    try:
        while piece := os.read(descriptor, READ_BYTES):  # the kernel gives a page at most
            found += piece
    except OSError:  # removed meanwhile
        return []
    finally:
        os.close(descriptor)
    return [int(pid) for pid in found.split() if pid != b"0"]


def kill(folder: str) -> bool:
    """SIGKILL for every process of a group; whether there was any. They may fork meanwhile."""
    found = processes(folder)
    for pid in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def kill_below(folder: str) -> None:
    """Kills what is in a group and in those below it, until nobody is or KILL_S have passed."""
    folders = [folder, *_below(folder)]
    until = time.monotonic() + KILL_S
    while any([kill(each) for each in folders]) and time.monotonic() < until:  # noqa: C419 - all
        time.sleep(LOOK_AGAIN_S)


def _below(folder: str) -> list[str]:
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if os.path.isdir(path):  # noqa: PTH112 - as above
                found += [path, *_below(path)]
    return found
