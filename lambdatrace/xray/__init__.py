"""The door before `aws_xray_sdk`: its subsegments as spans of ours, its code and its users' as is.

The recorder gets a context and an emitter of ours, which are its public places for them, and keeps
them when the user configures others: what nests, and what is sent, is one thing for both SDKs.
Nothing goes to the daemon from theirs; with `OTEL_TRACES_EXPORTER=xray` our sink sends the spans.
"""

from __future__ import annotations

from lambdatrace import patches, telemetry
from lambdatrace.patches.calls import missing, outgoing, x_ray_header
from lambdatrace.propagation import X_RAY
from lambdatrace.xray.recorder import take_over
from lambdatrace.xray.subsegments import TracedSubsegment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from types import ModuleType
    from typing import Any

    from lambdatrace.telemetry import Telemetry

# What the X-Ray SDK calls a library it patches → patches of ours that are off from then on.
_LIBRARIES = {
    "botocore": ("botocore",),
    "requests": ("requests",),
    "httplib": ("http.client", "urllib3"),  # it sees urllib3's connections too
}


def attach(module: ModuleType) -> None:
    """Take over the recorder of `aws_xray_sdk.core`, and watch what it patches."""
    from aws_xray_sdk.core import patcher
    from aws_xray_sdk.ext import util

    take_over(module.xray_recorder)
    util.inject_trace_header = _header_writer(util.inject_trace_header)
    for name in patcher._PATCHED_MODULES:  # noqa: SLF001 - nothing else tells
        _leave(name)
    _watch(patcher)


def _watch(patcher: Any) -> None:
    patch = patcher._patch  # noqa: SLF001 - what `patch` and `patch_all` call for each library

    def patch_and_tell(module_to_patch: str) -> Any:
        result = patch(module_to_patch)
        _leave(module_to_patch)
        return result

    patcher._patch = patch_and_tell  # noqa: SLF001


def _leave(name: str) -> None:
    for library in _LIBRARIES.get(name, ()):
        patches.leave(library)


def _header_writer(theirs: Any) -> Any:
    """What the SDK's patches write headers with: all that our own patches would write.

    X-Ray's header alone would say Sampled=0 where X-Ray does not sample, and end our trace there.
    """

    def inject_trace_header(headers: MutableMapping[str, Any], entity: Any) -> None:
        theirs(headers, entity)
        current = telemetry.installed()
        if current is not None and isinstance(entity, TracedSubsegment):
            current.guard.run(_write_header, current, headers, entity)

    return inject_trace_header


def _write_header(
    current: Telemetry, headers: MutableMapping[str, Any], subsegment: TracedSubsegment
) -> None:
    for name, value in missing(outgoing(current, subsegment.span), headers).items():
        headers[name] = value
    headers[X_RAY] = x_ray_header(current, subsegment.span)
