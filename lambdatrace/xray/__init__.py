"""The door before `aws_xray_sdk`: its subsegments as spans of ours, its code and its users' as is.

The recorder gets a context and an emitter of ours, which are its public places for them, and keeps
them when the user configures others: what nests, and what is sent, is one thing for both SDKs.
Nothing goes to the daemon from theirs; with `OTEL_TRACES_EXPORTER=xray` our sink sends the spans.
"""

from __future__ import annotations

from lambdatrace import patches
from lambdatrace.xray.recorder import take_over

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

# What the X-Ray SDK calls a library it patches → patches of ours that are off from then on.
_LIBRARIES = {
    "botocore": ("botocore",),
    "requests": ("requests",),
    "httplib": ("http.client", "urllib3"),  # it sees urllib3's connections too
}


def attach(module: ModuleType) -> None:
    """Take over the recorder of `aws_xray_sdk.core`, and watch what it patches."""
    from aws_xray_sdk.core import patcher

    take_over(module.xray_recorder)
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
