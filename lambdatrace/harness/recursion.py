"""Recursive loops, found by the Lineage of the tracing header.

A Lineage counts, for each function of a chain of requests, how often the chain has invoked it:
`1:0399f0f7:2|68fd508a:0`, a version, then a hash of the function and a number for each. AWS's SDKs
hand it on from a function's environment; `|` comes percent-encoded. Lambda stops a chain that has
invoked a function about 16 times.
Source: AWS Lambda developer guide, "Use Lambda recursive loop detection to prevent infinite loops";
X-Ray developer guide, "Tracing header".
"""

from __future__ import annotations

import re
import zlib
from urllib.parse import unquote

from lambdatrace.harness.errors import InvokeError

INVOKES_MAX = 16  # of one function in one chain
FUNCTIONS_MAX = 32  # that a Lineage tells of; the ones named first are forgotten first

_VERSION = "1"
_LINEAGE = re.compile(r";?\s*Lineage=([^;]*)", re.IGNORECASE)
_ENTRY = re.compile(r"([0-9a-zA-Z]+):(\d{1,9})")


def function_hash(arn: str) -> str:
    """The eight hexadecimal digits a function has in a Lineage."""
    return f"{zlib.crc32(arn.encode()):08x}"


def follow(header: str, own_hash: str) -> tuple[str, int]:
    """The header for one more invoke of a function, and how often the chain has invoked it before.

    A header without a Lineage begins one.
    """
    found = _LINEAGE.search(header)
    counts = _counts(found[1]) if found else {}
    before = counts.pop(own_hash, -1) + 1
    counts[own_hash] = before
    entries = "|".join(f"{h}:{n}" for h, n in list(counts.items())[-FUNCTIONS_MAX:])
    rest = _LINEAGE.sub("", header) if found else header
    return f"{rest};Lineage={_VERSION}:{entries}", before


def recursive_invocation() -> InvokeError:
    """The error for an invoke that would go on with a loop."""
    return InvokeError(
        400,
        "RecursiveInvocationException",
        "Lambda has detected your function being invoked in a recursive loop with other Amazon Web "
        "Services resources and stopped your function's invocation.",
    )


def _counts(lineage: str) -> dict[str, int]:
    """Hash and number of each function, without the version that the newer form begins with."""
    entries = unquote(lineage).strip().split("|")
    if entries[0].count(":") > 1:
        entries[0] = entries[0].partition(":")[2]
    matches = (_ENTRY.fullmatch(entry) for entry in entries)
    return {match[1]: int(match[2]) for match in matches if match}
