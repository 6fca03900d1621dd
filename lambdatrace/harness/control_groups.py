"""Control groups of execution environments: their CPU time, their memory and their processes.

A harness has one group per controller, with one below it for each environment, so that all can be
removed by whoever is left. Both versions of the kernel's interface are known; a version 1 group has
a folder per controller, a version 2 group one for all.

Sources: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/, "CFS Bandwidth Control".
"""

# The supervisor imports this too: the standard library only, and os because it is loaded already.
# ruff: noqa: PTH102, PTH103, PTH106, PTH110, PTH112, PTH118, PTH123, PTH208, BLE001

from __future__ import annotations

import contextlib
import os

from lambdatrace.harness import group_processes

PERIOD_US = 20_000  # short, so that a warm invoke of few milliseconds is slowed as evenly as on AWS
QUOTA_US_MIN = 1000  # the kernel's least
# What may be caught up on of periods in which other programs had the machine. Without it two
# threads with half a CPU between them had 12 to 15 % less of it beside two busy programs on two
# CPUs, since what a period does not use is lost; with half a period's quota -2 to +3 %.
BURST_SHARE = 0.5
_PREFIX = "lambdatrace-"
_CPU, _MEMORY, _PIDS = "cpu", "memory", "pids"
_CONTROLLERS = (_CPU, _MEMORY, _PIDS)


class ControlGroup:
    """The group of one environment; its processes join `folders` before they run."""

    def __init__(self, folder_by_controller: dict[str, str]) -> None:
        self.folders = tuple(dict.fromkeys(folder_by_controller.values()))
        self._folder_by_controller = folder_by_controller

    def processes(self) -> list[int]:
        """The ids of all that are in it; none where there is no group."""
        return group_processes.processes(self.folders[-1]) if self.folders else []

    def kill(self) -> bool:
        """SIGKILL for all that are in it; whether there was any."""
        return group_processes.kill(self.folders[-1]) if self.folders else False

    @property
    def limits_cpu(self) -> bool:
        """Whether `limit_cpu` has an effect."""
        return _CPU in self._folder_by_controller

    def limit_cpu(self, share: float) -> None:
        """Gives all processes together `share` of one CPU, which may be more than 1."""
        folder = self._folder_by_controller.get(_CPU)
        if folder is None:
            return
        quota_us = max(QUOTA_US_MIN, round(PERIOD_US * share))
        burst = "cpu.max.burst"
        if os.path.exists(os.path.join(folder, "cpu.max")):
            _write(folder, "cpu.max", f"{quota_us} {PERIOD_US}")
        else:
            burst = "cpu.cfs_burst_us"
            _write(folder, "cpu.cfs_period_us", str(PERIOD_US))
            _write(folder, "cpu.cfs_quota_us", str(quota_us))
        if os.path.exists(os.path.join(folder, burst)):  # Linux 5.14
            _write(folder, burst, str(round(quota_us * BURST_SHARE)))

    def lift_cpu_limit(self) -> None:
        """Takes back `limit_cpu`."""
        folder = self._folder_by_controller.get(_CPU)
        if folder is None:
            return
        if os.path.exists(os.path.join(folder, "cpu.max")):
            _write(folder, "cpu.max", "max")
        else:
            _write(folder, "cpu.cfs_quota_us", "-1")

    def limit_memory(self, bytes_max: int) -> None:
        """Lets the kernel kill a process when they have more than so much together, swap included.

        To the kernel this is all they brought in: files in a file system in memory too, and of the
        page cache what cannot be given back.
        """
        folder = self._folder_by_controller.get(_MEMORY)
        if folder is None:
            return
        if os.path.exists(os.path.join(folder, "memory.max")):
            _write(folder, "memory.max", str(bytes_max))
            limit, of_swap = "memory.swap.max", 0
        else:
            _write(folder, "memory.limit_in_bytes", str(bytes_max))
            limit, of_swap = "memory.memsw.limit_in_bytes", bytes_max
        if os.path.exists(os.path.join(folder, limit)):  # the kernel counts swap
            _write(folder, limit, str(of_swap))

    def oom_kills(self) -> int:
        """How many of the processes the kernel has killed for their memory so far."""
        folder = self._folder_by_controller.get(_MEMORY)
        if folder is None:
            return 0
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError), open(os.path.join(folder, name)) as file:
                counts = dict(line.split() for line in file)
                return int(counts.get("oom_kill", 0))
        return 0

    def limit_processes(self, processes_max: int) -> None:
        """Lets no more than so many processes and threads be at the same time."""
        folder = self._folder_by_controller.get(_PIDS)
        if folder is not None:
            _write(folder, "pids.max", str(processes_max))

    def remove(self) -> None:
        """Removes the group; one that still has processes stays, for the harness's end."""
        for folder in self.folders:
            remove(folder)


class ControlGroups:
    """The groups of one harness. Of a controller that is not ours to divide there are none."""

    def __init__(self, name: str, base_by_controller: dict[str, str] | None = None) -> None:
        """`name` is the harness's own; `base_by_controller` names folders, as `find_bases` does."""
        bases = find_bases() if base_by_controller is None else base_by_controller
        self._folder_by_controller: dict[str, str] = {}
        for controller, base in bases.items():
            remove_stale(base)
            folder = os.path.join(base, f"{_PREFIX}{os.getpid()}-{name}")
            if _make(folder) and _enable(folder, controller):
                self._folder_by_controller[controller] = folder

    @property
    def limits_cpu(self) -> bool:
        """Whether groups can bound CPU time here."""
        return _CPU in self._folder_by_controller

    @property
    def limits_processes(self) -> bool:
        """Whether groups can bound processes here."""
        return _PIDS in self._folder_by_controller

    @property
    def folders(self) -> list[str]:
        """The harness's groups: `remove` takes what is below with them."""
        return list(dict.fromkeys(self._folder_by_controller.values()))

    def keep(self, folders: list[str]) -> None:
        """Gives up the groups that are not in `folders`: nobody can join them."""
        for controller, folder in list(self._folder_by_controller.items()):
            if folder not in folders:
                remove(folder)
                del self._folder_by_controller[controller]

    def make(self, name: str) -> ControlGroup:
        """A group for one environment; of a controller that refuses it has none."""
        made = {}
        for controller, parent in self._folder_by_controller.items():
            folder = os.path.join(parent, name)
            if _make(folder):
                made[controller] = folder
        return ControlGroup(made)

    def kill(self) -> None:
        """Ends every process in them."""
        for folder in self.folders:
            group_processes.kill_below(folder)

    def close(self) -> None:
        """Removes every group."""
        for folder in self.folders:
            remove(folder)


def can_join(folder: str) -> bool:
    """Whether a process of ours can be put into a group below `folder`: tried with a fork."""
    tried = os.path.join(folder, "probe")
    pid = os.fork()
    if pid == 0:
        try:
            os.mkdir(tried)
            join(tried)
        except BaseException:
            os._exit(1)
        os._exit(0)
    is_joined = os.waitpid(pid, 0)[1] == 0
    remove(tried)
    return is_joined


def join(folder: str) -> None:
    """Puts this process, which has one thread, into the group.

    In version 1 as a thread that moves itself: the kernel then need not keep every process of the
    machine from forking, which it waits 9 to 20 ms for. Source: kernel/cgroup/cgroup.c,
    `cgroup_procs_write_start`.
    """
    is_version_1 = os.path.exists(os.path.join(folder, "tasks"))
    _write(folder, "tasks" if is_version_1 else "cgroup.procs", "0")


def remove(folder: str) -> None:
    """Removes a group and those below it, as far as no process is in them."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if os.path.isdir(os.path.join(folder, name)):
                remove(os.path.join(folder, name))
        os.rmdir(folder)


def remove_stale(base: str) -> None:
    """Removes the groups of harnesses that are no more, and ends what runs in them.

    Those that were killed together with their supervisor have left both.
    """
    with contextlib.suppress(OSError):
        for name in os.listdir(base):
            if name.startswith(_PREFIX):
                pid = name[len(_PREFIX) :].partition("-")[0]
                if not os.path.exists(f"/proc/{pid}"):
                    group_processes.kill_below(os.path.join(base, name))
                    remove(os.path.join(base, name))


def find_bases() -> dict[str, str]:
    """The folder below which groups can be made, by controller; only of those that are ours."""
    try:
        with open("/proc/self/cgroup") as file:
            groups = file.read()
        with open("/proc/self/mountinfo") as file:
            mounted = file.read()
    except OSError:
        return {}
    found = parse_bases(groups, mounted)
    return {controller: found[controller] for controller in _CONTROLLERS if controller in found}


def parse_bases(groups: str, mountinfo: str) -> dict[str, str]:
    """The folders of the groups we are in and may divide, by controller, from the two files' text.

    A group is ours to divide if it is the root of what we see (the machine's, or a container's), or
    if a user without privileges may write to it, which is how it is delegated. A group that
    somebody else has put a privileged process in stays as it is: its owner counts and ends what is
    in it, and would not find what we put below.
    """
    folder_by_kind: dict[str, tuple[str, str]] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        root, target = before.split(" ")[3:5]
        if kind == "cgroup2":
            folder_by_kind[""] = root, target
        elif kind == "cgroup":
            for option in options.split(" ")[-1].split(","):
                folder_by_kind[option] = root, target
    bases = {}
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        for kind in controllers.split(","):
            if kind in folder_by_kind:
                root, target = folder_by_kind[kind]
                inside = os.path.relpath(path, root)
                folder = os.path.normpath(os.path.join(target, inside))
                is_delegated = os.getuid() != 0 and os.access(folder, os.W_OK)
                if inside == "." or is_delegated:
                    bases.update(_controllers(folder) if kind == "" else {kind: folder})
    return bases


def _controllers(folder: str) -> dict[str, str]:
    """The controllers of a version 2 group that groups below it can have."""
    able = {}
    with contextlib.suppress(OSError), open(os.path.join(folder, "cgroup.controllers")) as file:
        known = file.read().split()
        able = {name: folder for name in _CONTROLLERS if name in known and _enable(folder, name)}
    return able


def _enable(folder: str, controller: str) -> bool:
    """Lets the groups below `folder` have the controller; version 1 asks for no leave."""
    path = os.path.join(folder, "cgroup.subtree_control")
    if not os.path.exists(path):
        return True
    try:
        with open(path) as file:
            if controller in file.read().split():
                return True
        _write(folder, "cgroup.subtree_control", f"+{controller}")
    except OSError:
        return False  # the group has processes of its own, which the kernel forbids then
    return True


def _make(folder: str) -> bool:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        return False
    return True


def _write(folder: str, name: str, value: str) -> None:
    with open(os.path.join(folder, name), "w") as file:
        file.write(value)
