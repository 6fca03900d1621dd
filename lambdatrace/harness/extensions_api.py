"""The Lambda Extensions API, 2020-01-01, as a state machine without I/O.

    REGISTERED ── next ──▶ READY ── event ──▶ RUNNING ── next ──▶ READY
         └── init error ──▶ INIT_ERROR            └── exit error ──▶ EXIT_ERROR

External extensions are the executables of /opt/extensions, started before the runtime; any other
name that registers is an internal extension: a part of the runtime process, which may register for
INVOKE only. Registration closes when the runtime asks for its first event.
Source: AWS Lambda developer guide, "Using the Lambda Extensions API"; aws-lambda-runtime-interface-
emulator, `internal/lambda/core` and `rapi`.
"""

from __future__ import annotations

import enum
import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from lambdatrace.harness.runtime_api import ACCEPTED, Answer, api_error

if TYPE_CHECKING:
    from collections.abc import Iterable

EXTENSIONS_MAX = 10  # internal and external together
EVENT_TYPES = ("INVOKE", "SHUTDOWN")


class ExtensionState(enum.Enum):
    """What an extension has done so far."""

    STARTED = "Started"
    REGISTERED = "Registered"
    READY = "Ready"
    RUNNING = "Running"
    INIT_ERROR = "InitError"
    EXIT_ERROR = "ExitError"


@dataclass
class Extension:
    """One extension of an environment; `identifier` is empty until it has registered."""

    name: str
    is_external: bool
    identifier: str = ""
    state: ExtensionState = ExtensionState.STARTED
    events: tuple[str, ...] = ()
    error_type: str = ""


class ExtensionMeaning(enum.Enum):
    """What a call of an extension means for its environment."""

    NOTHING = "nothing"
    REGISTERED = "an extension registered"
    NEXT = "an extension asked for the next event"
    INIT_ERROR = "an extension could not start"
    EXIT_ERROR = "an extension is about to exit"


class ExtensionStep(NamedTuple):
    """What follows from a call: the answer (None: the caller waits), its meaning, who called."""

    answer: Answer | None
    meaning: ExtensionMeaning
    extension: Extension | None = None


@dataclass
class ExtensionsApi:
    """The extensions of one process generation, and what they may call.

    `function` answers a registration: functionName, functionVersion, handler, accountId.
    """

    function: dict[str, str]
    is_registration_open: bool = True
    is_managed: bool = False  # Managed Instances: no extension is told of invokes
    by_name: dict[str, Extension] = field(default_factory=dict)
    by_identifier: dict[str, Extension] = field(default_factory=dict)

    def launch(self, names: Iterable[str]) -> None:
        """Notes the external extensions whose processes are being started."""
        for name in names:
            self.by_name[name] = Extension(name, is_external=True)

    @property
    def registered(self) -> list[Extension]:
        """Extensions that have registered, in order."""
        return list(self.by_identifier.values())

    @property
    def are_external_registered(self) -> bool:
        """Every external extension that was started has registered: the runtime may start."""
        return all(extension.identifier for extension in self.by_name.values())

    @property
    def are_idle(self) -> bool:
        """Every registered extension has asked for its next event."""
        if not self.by_identifier:
            return True
        return all(e.state is ExtensionState.READY for e in self.by_identifier.values())

    def register(self, name: str, body: bytes, accept_feature: str = "") -> ExtensionStep:
        """POST /extension/register."""
        if not name:
            return _refusal("Extension.MissingHeader", "Lambda-Extension-Name header is missing")
        extension = self.by_name.get(name)
        refusal = self._refuse_registration(extension)
        if refusal:
            return refusal
        events = _events_of(body)
        if events is None:
            return _refusal(
                "InvalidRequestFormat",
                'Invalid registration: expected {"events": [...]} in JSON',
                status=400,
            )
        is_external = extension is not None
        if self.is_managed and events and not is_external:
            return _refusal(
                "Extension.InvalidEventType", "No events allowed for internal extensions"
            )
        for event in events:
            if event not in (EVENT_TYPES[1:] if self.is_managed else EVENT_TYPES):
                return _refusal("Extension.InvalidEventType", f"{event}: InvalidEventType")
            if event == "SHUTDOWN" and not is_external:
                return _refusal(
                    "Extension.InvalidEventType",
                    "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension",
                )
        extension = extension or Extension(name, is_external=False)
        extension.identifier = str(uuid.uuid4())
        extension.state = ExtensionState.REGISTERED
        extension.events = tuple(events)
        self.by_name[name] = extension
        self.by_identifier[extension.identifier] = extension
        return ExtensionStep(
            self._registration(extension, accept_feature), ExtensionMeaning.REGISTERED, extension
        )

    def next(self, identifier: str) -> ExtensionStep:
        """GET /extension/event/next."""
        extension, refusal = self.find(identifier)
        if extension is None:
            return refusal
        if extension.state in (ExtensionState.INIT_ERROR, ExtensionState.EXIT_ERROR):
            return _wrong_state(extension, ExtensionState.READY)
        extension.state = ExtensionState.READY
        return ExtensionStep(None, ExtensionMeaning.NEXT, extension)

    def init_error(self, identifier: str, error_type: str) -> ExtensionStep:
        """POST /extension/init/error: the environment's init fails with Extension.InitError."""
        extension, refusal = self.find(identifier)
        if extension is None:
            return refusal
        if not error_type:
            return _missing_error_type()
        if extension.state is not ExtensionState.REGISTERED:
            return _wrong_state(extension, ExtensionState.INIT_ERROR)
        extension.state = ExtensionState.INIT_ERROR
        extension.error_type = error_type
        return ExtensionStep(ACCEPTED, ExtensionMeaning.INIT_ERROR, extension)

    def exit_error(self, identifier: str, error_type: str) -> ExtensionStep:
        """POST /extension/exit/error: the extension must exit after it."""
        extension, refusal = self.find(identifier)
        if extension is None:
            return refusal
        if not error_type:
            return _missing_error_type()
        if extension.state in (ExtensionState.INIT_ERROR, ExtensionState.EXIT_ERROR):
            return _wrong_state(extension, ExtensionState.EXIT_ERROR)
        extension.state = ExtensionState.EXIT_ERROR
        extension.error_type = error_type
        return ExtensionStep(ACCEPTED, ExtensionMeaning.EXIT_ERROR, extension)

    def begin(self, extension: Extension) -> None:
        """An event is given to this extension: it is busy until it asks for the next one."""
        extension.state = ExtensionState.RUNNING

    def listeners(self, event_type: str) -> list[Extension]:
        """Extensions that are to receive an event of this type."""
        return [e for e in self.by_identifier.values() if event_type in e.events]

    def _refuse_registration(self, extension: Extension | None) -> ExtensionStep | None:
        if not self.is_registration_open:
            return _refusal("Extension.RegistrationClosed", "Extension registration closed already")
        if extension is not None and extension.state is not ExtensionState.STARTED:
            if extension.is_external:
                return _wrong_state(extension, ExtensionState.REGISTERED)
            return _refusal(
                "Extension.InvalidExtensionName",
                f"Extension name '{extension.name}' is registered already: names are unique",
            )
        if extension is None and len(self.by_name) >= EXTENSIONS_MAX:
            return _refusal(
                "Extension.TooManyExtensions", f"Extension limit ({EXTENSIONS_MAX}) reached"
            )
        return None

    def _registration(self, extension: Extension, accept_feature: str) -> Answer:
        wants_account = "accountId" in [item.strip() for item in accept_feature.split(",")]
        known = {k: v for k, v in self.function.items() if k != "accountId" or wants_account}
        header = f"Lambda-Extension-Identifier: {extension.identifier}\r\n"
        return Answer(200, json.dumps(known).encode(), header.encode())

    def find(self, identifier: str) -> tuple[Extension | None, ExtensionStep]:
        """Who calls with this identifier; None, and the refusal, where nobody has it."""
        extension = self.by_identifier.get(identifier)
        if extension is not None:
            return extension, ExtensionStep(None, ExtensionMeaning.NOTHING)
        if not identifier:
            return None, _refusal(
                "Extension.MissingExtensionIdentifier",
                "Missing Lambda-Extension-Identifier header",
            )
        try:
            uuid.UUID(identifier)
        except ValueError:
            return None, _refusal(
                "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier"
            )
        return None, _refusal(
            "Extension.UnknownExtensionIdentifier", "Unknown extension identifier"
        )


def invoke_event(
    *, request_id: str, deadline_ms: int, invoked_function_arn: str, trace_header: str
) -> Answer:
    """The INVOKE event every subscribed extension gets when an invoke begins."""
    event = {
        "eventType": "INVOKE",
        "deadlineMs": deadline_ms,
        "requestId": request_id,
        "invokedFunctionArn": invoked_function_arn,
        "tracing": {"type": "X-Amzn-Trace-Id", "value": trace_header},
    }
    identifier = f"Lambda-Extension-Event-Identifier: {uuid.uuid4()}\r\n"
    return Answer(200, json.dumps(event).encode(), identifier.encode())


def shutdown_event(reason: str, deadline_ms: int) -> Answer:
    """The SHUTDOWN event; AWS sends it as plain text and without an event identifier."""
    event = {"eventType": "SHUTDOWN", "shutdownReason": reason, "deadlineMs": deadline_ms}
    return Answer(200, json.dumps(event).encode(), b"Content-Type: text/plain\r\n")


def _events_of(body: bytes) -> list[str] | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    events = document.get("events", [])
    if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
        return None
    return list(dict.fromkeys(events))


def _refusal(error_type: str, message: str, status: int = 403) -> ExtensionStep:
    return ExtensionStep(api_error(status, error_type, message), ExtensionMeaning.NOTHING)


def _wrong_state(extension: Extension, wanted: ExtensionState) -> ExtensionStep:
    message = (
        f"State transition from {extension.state.value} to {wanted.value} failed for extension "
        f"{extension.name}. Error: State transition is not allowed"
    )
    return _refusal("Extension.InvalidExtensionState", message)


def _missing_error_type() -> ExtensionStep:
    return _refusal(
        "Extension.MissingHeader", "Lambda-Extension-Function-Error-Type header is missing"
    )
