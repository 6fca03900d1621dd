"""The file systems of one process: its own /tmp, code as /var/task, layers as /opt, host names.

System calls only, and only the standard library: this runs in the supervisor and between fork and
exec. Everything is mounted in namespaces that end with their processes, so nothing is left behind.
"""

# os, not pathlib: cheap after a fork.
# ruff: noqa: PTH102, PTH103, PTH108, PTH110, PTH112, PTH114, PTH115, PTH118, PTH120, PTH123, PTH208, PTH211, BLE001

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import Any

PRIVATE_TMP, SIZED_TMP, READ_ONLY, OWN_TASK_ROOT = 1, 2, 4, 8  # what we may do here, as bits
TASK_ROOT = "/var/task"
HOSTS_BYTES_MAX = 65536

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_RDONLY = 0x1
_MS_NOSUID = 0x2
_MS_NODEV = 0x4
_MS_NOEXEC = 0x8
_MS_REMOUNT = 0x20
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_PRIVATE = 0x40000
_HOSTS = "/etc/hosts"
_MNT_DETACH = 2
_LIBC = ctypes.CDLL(None, use_errno=True)


def own_file_system(private: str, message: dict[str, Any]) -> None:
    """Gives this process its own /tmp, its code and layers where Lambda has them, and host names.

    All in a mount namespace, so that nobody else sees them. Folders in `keep` that live under the
    old /tmp (code, interpreter) stay where they were, and can no more be written to, or removed by
    a function that empties /tmp, than those in `read_only`.
    """
    unshare(private)
    kept = [(folder, os.open(folder, os.O_PATH)) for folder in message["keep"]]
    if message["task"]:
        bind(message["task"], TASK_ROOT)  # before /tmp, below which the code may be
    if message["opt"]:
        bind(message["opt"], "/opt")
    if message["sandbox"] and os.path.exists(_HOSTS):
        name_sandbox(message["sandbox"], os.path.dirname(message["tmp"]))
    bind(message["tmp"], "/tmp")  # noqa: S108 - the place that functions write to
    for folder, fd in kept:
        os.makedirs(folder, exist_ok=True)
        bind(f"/proc/self/fd/{fd}", folder)
        os.close(fd)
        make_read_only(folder)
    for folder in message["read_only"]:
        make_read_only(folder)


def make_task_root() -> None:
    """Has a folder /var/task in this namespace.

    Where the machine has none, /var is covered with a folder in memory that has one beside all
    that was there: nothing is made on the machine. Later forks inherit it: a cold start is spared.
    """
    if os.path.isdir(TASK_ROOT):
        return
    parent = os.path.dirname(TASK_ROOT)
    there = {name: os.path.join(parent, name) for name in os.listdir(parent)}
    links = {path: os.readlink(path) for path in there.values() if os.path.islink(path)}
    held = {path: os.open(path, os.O_PATH) for path in there.values() if path not in links}
    check(_LIBC.mount(b"tmpfs", parent.encode(), b"tmpfs", _MS_NOSUID | _MS_NODEV, b"mode=755"))
    for path, target in links.items():
        os.symlink(target, path)
    for path, fd in held.items():
        source = f"/proc/self/fd/{fd}"
        if os.path.isdir(source):
            os.mkdir(path)
        else:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
        bind(source, path)
        os.close(fd)
    os.mkdir(TASK_ROOT)


def name_sandbox(address: str, folder: str) -> None:
    """Gives `address` the names that an execution environment has from inside.

    The file is written to `folder` and lives on as what /etc/hosts is here.
    """
    path = f"{folder}/.hosts-{os.getpid()}"
    known, own = os.open(_HOSTS, os.O_RDONLY), os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    names = f"\n{address} sandbox.localdomain sandbox\n"
    os.write(own, os.read(known, HOSTS_BYTES_MAX) + names.encode())
    os.fchmod(own, 0o644)
    os.close(known)
    os.close(own)
    with contextlib.suppress(OSError):  # in a sandbox within a sandbox, a file that has no name
        bind(path, _HOSTS)
    os.unlink(path)


def size_tmp(folder: str, size_mb: int) -> None:
    """Makes `folder` a file system of `size_mb`; one that is mounted already stays as it is.

    It lives in the supervisor's namespace, so it outlives the processes of an environment and not
    the supervisor. Removing the folder, from any namespace, gives its memory back.
    """
    if not os.path.ismount(folder):
        mount_tmpfs(folder, size_mb)


def unmount_below(folder: str) -> None:
    """Takes off what is mounted on the folders in `folder`, so that they can be removed."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.ismount(path):
            check(_LIBC.umount2(path.encode(), _MNT_DETACH))


def mount_tmpfs(folder: str, size_mb: int) -> None:
    """Mounts an empty file system in memory over `folder`."""
    options = f"size={size_mb}m,mode=1777".encode()
    check(_LIBC.mount(b"tmpfs", folder.encode(), b"tmpfs", _MS_NOSUID | _MS_NODEV, options))


def unshare(private: str) -> None:
    """Enters a new mount namespace, through a user namespace where we are not privileged."""
    uid, gid = os.getuid(), os.getgid()
    flags = _CLONE_NEWNS | (_CLONE_NEWUSER if private == "user" else 0)
    check(_LIBC.unshare(flags))
    if private == "user":
        for name, value in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(value)
    check(_LIBC.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))


def bind(source: str, target: str) -> None:
    """Bind-mounts `source` over `target`."""
    check(_LIBC.mount(source.encode(), target.encode(), None, _MS_BIND | _MS_REC, None))


def make_read_only(folder: str) -> None:
    """Covers `folder` with itself, read-only. What else its mount forbids stays forbidden."""
    bind(folder, folder)
    kept = os.statvfs(folder).f_flag & (_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    flags = _MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept
    check(_LIBC.mount(None, folder.encode(), None, flags, None))


def check(result: int) -> None:
    """Raises OSError for a failed C call."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def probe(folder: str) -> tuple[str, int]:
    """How a process gets file systems of its own here ("mount", "user", "" for not), and which."""
    for private in ("mount", "user"):
        pid = os.fork()
        if pid == 0:
            os._exit(_try_all(private, folder))
        able = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if able & PRIVATE_TMP:
            return private, able
    return "", 0


def _try_all(private: str, folder: str) -> int:
    able = 0
    message: dict[str, Any] = {
        "keep": [],
        "opt": "",
        "read_only": [],
        "sandbox": "",
        "task": "",
        "tmp": folder,
    }
    try:
        own_file_system(private, message)
        able |= PRIVATE_TMP
        make_read_only("/tmp")  # noqa: S108 - our own by now
        able |= READ_ONLY
        mount_tmpfs("/tmp", 1)  # noqa: S108
        able |= SIZED_TMP
        make_task_root()
        bind("/tmp", TASK_ROOT)  # noqa: S108
        able |= OWN_TASK_ROOT
    except BaseException:
        return able
    return able
