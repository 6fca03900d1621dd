"""What is known of a process by its journal.

Entries → values: nothing here reads a file, or knows the process that died.
"""

from __future__ import annotations

from lambdatrace.journal_logs import record_of, scope_of
from lambdatrace.records import OWN_SCOPE, Link, Span, SpanContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.journal import Entry


_INT_END = 1 << 63
# What the items of entries are on which others are built: with anything else there the whole
# process could not be told of.
_SHAPES: dict[str, tuple[type | tuple[type, ...], ...]] = {
    "process": (str, str, int, int, str, str),
    "child": (str,),
    "ready": (int, str),
    "invocation": (
        *(int, str, int, str, int, str, object, (str, type(None)), object, object),
        *(dict, dict),
    ),
    "root": (str, str),
    "timeout": (str,),
    "end": (str, int, str),
    "taken": (str, list),
    "metric": (
        *(str, object, tuple, object, object, object, object, object, object),
        *(int, (tuple, type(None))),
    ),
}


class Left:
    """What the entries of a journal come to: the last state of each span, what is settled, facts.

    `unreadable` counts entries that are not what they should be.
    """

    def __init__(self, entries: list[Entry]) -> None:
        self.facts: dict[str, Entry] = {}  # process, ready
        self.invocations: dict[str, Entry] = {}
        self.roots: dict[str, str] = {}
        self.ends: dict[str, Entry] = {}
        self.timeouts: set[str] = set()
        self.spans: dict[str, Entry] = {}
        self.settled: set[str] = set()
        self.metrics: list[tuple[str, Entry]] = []
        self.logs: dict[int, Entry] = {}  # that were not sent, by number
        self.taken: list[str] = []  # the journals of which all is in this one
        self.last_ns = 0
        self.unreadable = 0
        self._request_id = ""
        self._take_all(entries)

    def _take_all(self, entries: list[Entry]) -> None:
        for entry in entries:
            try:
                self._take(entry)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
                self.unreadable += 1

    def _take(self, entry: Entry) -> None:
        kind = entry[0]
        _check_shape(kind, entry[1:])
        if kind == "span":
            span_of(entry)  # raises if it is none
            opened = self.spans.get(entry[1])
            if opened is not None and not entry[-1]:
                entry = (*entry[:-1], opened[-1])
            self.spans[entry[1]] = entry
            self.settled.discard(entry[1])
            self._note_time(max(entry[7], entry[8]))
        elif kind == "begun":
            *begin, scope_name, scope_version, attributes, request_id = entry[1:]
            is_own = scope_name == OWN_SCOPE.name
            scope: Any = None if is_own else (scope_name, scope_version, "", {})
            self._take(("span", *begin, 0, attributes, 0, "", [], [], scope, 0, 0, 0, request_id))
        elif kind == "ended" and entry[1] in self.spans:
            _, span_id, end_ns, name, given, *status = entry
            opened = self.spans[span_id]
            state = (end_ns, {**opened[9], **given}, *status)
            self._take((*opened[:5], name, *opened[6:8], *state, *opened[12:]))
        elif kind == "set" and entry[1] in self.spans:
            # Into what stands for the span: a later state of it has them anyway.
            self.spans[entry[1]][9].update(entry[2])
        elif kind == "settled":
            self.settled.update(entry[1])
        elif kind == "metric":
            self._note_time(entry[-2])
            self.metrics.append((entry[1] or self._request_id, entry))
        elif kind == "written":
            written = set(entry[1])
            self.metrics = [pair for pair in self.metrics if pair[1][-2] not in written]
        elif kind == "taken":
            self._take_all(entry[2])
            self.taken.append(entry[1])
        else:
            self._take_other(kind, entry)

    def _take_other(self, kind: str, entry: Entry) -> None:
        if kind == "invocation":
            self._request_id = request_id = entry[2]
            # Of an earlier attempt at the same request all is known.
            self.roots.pop(request_id, None)
            self.ends.pop(request_id, None)
            self.timeouts.discard(request_id)
            self.invocations[entry[2]] = entry
            self._note_time(entry[3])
        elif kind == "root":
            self.roots[entry[1]] = entry[2]
        elif kind == "timeout":
            self.timeouts.add(entry[1])
        elif kind == "end":
            self.ends[entry[1]] = entry
            self._note_time(entry[2])
        elif kind == "log":
            self._note_time(record_of(entry).observed_ns)  # raises if it is none
            self.logs[entry[1]] = entry
        elif kind == "logged":
            for number in entry[1]:
                self.logs.pop(number, None)
        elif kind in ("process", "ready", "child"):
            self.facts[kind] = entry

    def _note_time(self, time_ns: int) -> None:
        self.last_ns = max(self.last_ns, time_ns)

    def is_init_alone(self) -> bool:
        """Whether the process has recorded nothing but that it started, and was never ready."""
        is_ready = "ready" in self.facts or self.invocations or self.spans
        return "process" in self.facts and not is_ready

    def is_over(self, request_id: str) -> bool:
        """Whether nothing of an invocation's own span remains to be sent."""
        root_id = self.roots.get(request_id, "")
        root = self.spans.get(root_id)
        # Of an unsampled trace there is the root's id alone.
        return bool(root_id) and (root is None or (root[8] > 0 and root_id in self.settled))

    def is_counted(self, request_id: str) -> bool:
        """Whether an invocation is in the metrics of invocations, or was to be in them.

        That is when it is about to time out, and else just before its own span ends.
        """
        if request_id in self.timeouts:
            return True
        root_id = self.roots.get(request_id, "")
        root = self.spans.get(root_id)
        if root is not None:
            return bool(root[8] > 0)
        return bool(root_id) and request_id in self.ends

    def unsettled(self) -> list[Entry]:
        """The entries that are still of use, in an order that gives the same state."""
        kept = [*self.facts.values(), *(("taken", name, []) for name in self.taken)]
        for request_id, invocation in self.invocations.items():
            if not self.is_over(request_id):
                kept.append(invocation)
                if request_id in self.roots:
                    kept.append(("root", request_id, self.roots[request_id]))
                kept += [("timeout", request_id)] if request_id in self.timeouts else []
                kept += [self.ends[request_id]] if request_id in self.ends else []
            kept += [metric for request, metric in self.metrics if request == request_id]
        kept += [metric for request, metric in self.metrics if request not in self.invocations]
        kept += self.logs.values()
        kept += [span for key, span in self.spans.items() if not span[8] or key not in self.settled]
        still_open = [key for key in self.settled if key in self.spans and not self.spans[key][8]]
        return [*kept, ("settled", still_open)] if still_open else kept


def _check_shape(kind: str, items: tuple[Any, ...]) -> None:
    """Raise ValueError or TypeError if an entry of this kind has other items."""
    for item, kinds in zip(items, _SHAPES.get(kind, ()), strict=kind in _SHAPES):
        if not isinstance(item, kinds):
            raise TypeError(f"{kind}: {type(item).__name__}")
        if isinstance(item, int) and not -_INT_END <= item < _INT_END:
            raise ValueError(f"{kind}: {item}")


def compacted(entries: list[Entry]) -> list[Entry]:
    """Of a journal's entries, those that are still of use."""
    return Left(entries).unsettled()


def span_of(entry: Entry) -> Span:
    """The span in an entry, open or ended. Raises ValueError or TypeError if it is none."""
    span_id, trace_id, parent_id, trace_state, name, kind, start_ns, end_ns = entry[1:9]
    attributes, status, message, events, links, scope, *lost, _ = entry[9:]
    attributes_lost, events_lost, links_lost = lost
    context = SpanContext(trace_id, span_id, trace_state=trace_state)
    parent = SpanContext(trace_id, parent_id) if parent_id else None
    span = Span(
        name,
        context,
        parent,
        int(start_ns),
        kind=int(kind),
        attributes=attributes,
        links=[
            Link(SpanContext(trace, span, is_sampled=sampled, trace_state=state), more)
            for trace, span, sampled, state, more in links
        ],
        scope=scope_of(scope),
    )
    for event_name, time_ns, more in events:
        span.add_event(event_name, time_ns, more)
    span.status_code, span.status_message = int(status), message
    span.dropped_attributes += attributes_lost
    span.dropped_events += events_lost
    span.dropped_links += links_lost
    span.end_ns = int(end_ns)
    return span
