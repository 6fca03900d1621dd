"""The keys of a structured logger: those that stay, and those of the invocation under way.

What is appended while an invocation runs belongs to it, and to the task or thread that appended it
and what that starts; a thread without any of its own sees what the invocation has appended last.
What is appended outside of any stays.
"""

from __future__ import annotations

from _contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    # The invocation that keys belong to, and the keys; the mapping is never changed, but replaced.
    State = tuple[object, Mapping[str, Any]]

_NO_KEYS: Mapping[str, Any] = {}


class Keys:
    """Keys by name, in the order they came. `invocation` gives the one under way, or None."""

    __slots__ = ("_first", "_invocation", "_lasting", "_latest", "_of_context")

    def __init__(self, invocation: Callable[[], object | None], keys: Mapping[str, Any]) -> None:
        self._invocation = invocation
        self._first: Mapping[str, Any] = dict(keys)
        self._lasting: Mapping[str, Any] = self._first
        self._of_context: ContextVar[State | None] = ContextVar(
            "lambdatrace_log_keys", default=None
        )
        self._latest: State = (None, _NO_KEYS)

    def current(self) -> dict[str, Any]:
        """All keys, as they are for the caller."""
        return {**self._lasting, **self._of(self._invocation())}

    def append(self, keys: Mapping[str, Any]) -> None:
        """Add `keys`, over those of the same name."""
        invocation = self._invocation()
        if invocation is None:
            self._lasting = {**self._lasting, **keys}
        else:
            self._set(invocation, {**self._of(invocation), **keys})

    def remove(self, names: Iterable[str]) -> None:
        """Take out the keys of these names, those that stay too."""
        names = frozenset(names)
        invocation = self._invocation()
        if invocation is not None:
            self._set(invocation, _without(self._of(invocation), names))
        if not names.isdisjoint(self._lasting):
            self._lasting = _without(self._lasting, names)

    def clear(self) -> None:
        """Take out all but what the logger was made with."""
        invocation = self._invocation()
        if invocation is not None:
            self._set(invocation, _NO_KEYS)
        self._lasting = self._first

    def save(self) -> State:
        """The keys that `append` would change now, for `restore`."""
        invocation = self._invocation()
        return invocation, self._lasting if invocation is None else self._of(invocation)

    def restore(self, saved: State) -> None:
        """Have the keys as they were at `save`."""
        invocation, keys = saved
        if invocation is None:
            self._lasting = keys
        else:
            self._set(invocation, keys)

    def _of(self, invocation: object | None) -> Mapping[str, Any]:
        if invocation is None:
            return _NO_KEYS
        state = self._of_context.get()
        if state is None or state[0] is not invocation:
            state = self._latest
        return state[1] if state[0] is invocation else _NO_KEYS

    def _set(self, invocation: object, keys: Mapping[str, Any]) -> None:
        state = (invocation, keys)
        self._of_context.set(state)
        self._latest = state


def _without(keys: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if key not in names}
