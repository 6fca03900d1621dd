"""The keys of a structured logger: those that stay, and those of the invocation under way.

What is appended while an invocation runs belongs to it, and to the task or thread that appended it
and what that starts; a thread without any of its own sees what the invocation has appended last.
What is appended outside of any stays. Apart from both are the keys of one thread or task alone,
which go before all others and end with the invocation.
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

    __slots__ = ("_first", "_invocation", "_lasting", "_latest", "_of_context", "_private")

    def __init__(self, invocation: Callable[[], object | None], keys: Mapping[str, Any]) -> None:
        self._invocation = invocation
        self._first: Mapping[str, Any] = dict(keys)
        self._lasting: Mapping[str, Any] = self._first
        self._of_context: ContextVar[State | None] = ContextVar(
            "lambdatrace_log_keys", default=None
        )
        self._private: ContextVar[State] = ContextVar(
            "lambdatrace_thread_log_keys", default=(None, _NO_KEYS)
        )
        self._latest: State = (None, _NO_KEYS)

    def current(self) -> dict[str, Any]:
        """All keys, as they are for the caller."""
        return {**self._lasting, **self._of(self._invocation()), **self.private()}

    def private(self) -> Mapping[str, Any]:
        """The keys of this thread or task alone."""
        invocation, keys = self._private.get()
        return keys if invocation is self._invocation() else _NO_KEYS

    def set_private(self, keys: Mapping[str, Any]) -> None:
        """Have `keys` as those of this thread or task alone."""
        self._private.set((self._invocation(), keys))

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
        self.set_private(_NO_KEYS)

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
