"""Lambda's limits for an execution environment, and which of them bite on this machine.

Source: AWS Lambda developer guide, "Lambda quotas" and "Configure Lambda function memory".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.harness.control_groups import ControlGroups
from lambdatrace.harness.cpu_share import DutyCycle
from lambdatrace.harness.mounts import OWN_TASK_ROOT, PRIVATE_TMP, READ_ONLY, SIZED_TMP

if TYPE_CHECKING:
    from lambdatrace.harness.control_groups import ControlGroup
    from lambdatrace.harness.function import Function
    from lambdatrace.harness.sandbox import Sandbox

VCPU_MB = 1769  # "At 1,769 MB, a function has the equivalent of one vCPU"
FILES_MAX = 1024
PROCESSES_MAX = 1024  # processes and threads
EPHEMERAL_STORAGE_MB_MIN, EPHEMERAL_STORAGE_MB_MAX = 512, 10240


def cpu_share(memory_size_mb: int) -> float:
    """How many CPUs a function of this memory size has."""
    return memory_size_mb / VCPU_MB


class Limits:
    """What one harness enforces, and with what; the arguments are its user's wishes.

    `able` and `groups` are complete when the supervisor has told what it may do.
    """

    def __init__(
        self, name: str, *, limits_cpu: bool, uses_groups: bool, wants_private_tmp: bool
    ) -> None:
        self.limits_cpu = limits_cpu
        self._uses_groups = uses_groups
        self._wants_private_tmp = wants_private_tmp
        self.groups = ControlGroups(name, None if uses_groups else {})
        self.able = 0
        self.private = ""

    def unenforced(self) -> list[str]:
        """One line for each limit that was wanted and does not bite here, and what is instead."""
        lines = []
        if self._wants_private_tmp:
            if not self.able & PRIVATE_TMP:
                lines.append("functions share this machine's /tmp: TMPDIR names a folder for each")
            if not self.able & SIZED_TMP:
                lines.append("EphemeralStorage: /tmp may be filled up to the machine's disk")
            if not self.able & READ_ONLY:
                lines.append("the function's code and /opt can be written to")
            if not self.able & OWN_TASK_ROOT:
                lines.append("LAMBDA_TASK_ROOT is the code's own folder: there is no /var/task")
        if self._uses_groups and not self.groups.limits_processes and self.private != "user":
            lines.append(f"an environment may have more than {PROCESSES_MAX} processes and threads")
        return lines


class EnvironmentLimits:
    """The limits of one environment that last longer than its processes."""

    def __init__(self, limits: Limits, name: str, function: Function) -> None:
        self._group: ControlGroup = limits.groups.make(name)
        self._group.limit_processes(PROCESSES_MAX)
        # To the kernel what is in /tmp is the function's memory, to Lambda it is not: the group
        # bounds both together, and `Watch` the processes' own. So what is taken between two of its
        # looks, or while nobody looks, is bounded too.
        may_fill_tmp = function.ephemeral_storage_mb if limits.able & SIZED_TMP else 0
        self._group.limit_memory((function.memory_size_mb + may_fill_tmp) * 2**20)
        self._share = cpu_share(function.memory_size_mb)
        self._limits_cpu = limits.limits_cpu
        self._oom_kills = 0

    @property
    def group(self) -> ControlGroup:
        """The control group that processes of the environment join."""
        return self._group

    def lift_cpu_limit(self) -> None:
        """The processes of an init that follows others have what there is, as the first's had."""
        if self._limits_cpu:
            self._group.lift_cpu_limit()

    def limit_cpu(self, sandbox: Sandbox) -> None:
        """From now on the processes have the CPU time of their memory size, if that is wanted.

        Called when an init is over: on AWS inits are not slowed (measured by many, promised by
        nobody).
        """
        if not self._limits_cpu:
            return
        if self._group.limits_cpu:
            self._group.limit_cpu(self._share)
        else:
            sandbox.duty = DutyCycle(sandbox, self._share)

    def take_out_of_memory(self) -> bool:
        """Whether the kernel has killed a process for its memory since it was asked last."""
        before, self._oom_kills = self._oom_kills, self._group.oom_kills()
        return self._oom_kills > before

    def remove(self) -> None:
        """Gives back what outlived the processes."""
        self._group.remove()
