"""What a sandbox is called from inside: where extensions listen for their telemetry.

On AWS each execution environment has a network of its own, in which it is `sandbox.localdomain`.
Here all share the machine's, so each has a loopback address of its own, by the port of its APIs,
and /etc/hosts gives it the names: the same port can be listened on in many environments at once.
"""

from __future__ import annotations

NAMES = ("sandbox.localdomain", "sandbox")
LOOPBACK = "127.0.0.1"


def address_of(api_port: int) -> str:
    """The address of the environment whose APIs are on this port, 127.77.0.0 and up."""
    return f"127.77.{api_port >> 8}.{api_port & 255}"


def address_and_hosts(api_port: int, *, is_private: bool) -> tuple[str, tuple[str, ...]]:
    """Where an environment's extensions listen, and how a destination may name it.

    Without mount namespaces (not `is_private`) nobody knows the names, and all use 127.0.0.1.
    """
    if is_private:
        return address_of(api_port), NAMES
    return LOOPBACK, (*NAMES, "localhost", LOOPBACK)
