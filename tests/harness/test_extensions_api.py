from __future__ import annotations

import json
import uuid

import pytest

from lambdatrace.harness.extensions_api import (
    ExtensionMeaning,
    ExtensionsApi,
    ExtensionState,
    ExtensionStep,
    invoke_event,
    shutdown_event,
)
from lambdatrace.harness.runtime_api import Answer

FUNCTION = {
    "functionName": "f",
    "functionVersion": "$LATEST",
    "handler": "app.handler",
    "accountId": "123456789012",
}
INVOKE = b'{"events": ["INVOKE"]}'


def api() -> ExtensionsApi:
    return ExtensionsApi(dict(FUNCTION))


def registered(name: str = "inner", body: bytes = INVOKE) -> tuple[ExtensionsApi, str]:
    """An API with one internal extension, and that one's identifier."""
    extensions = api()
    step = extensions.register(name, body)
    assert step.extension
    return extensions, step.extension.identifier


def error(step: ExtensionStep) -> tuple[int, str, str]:
    assert step.answer
    assert step.meaning is ExtensionMeaning.NOTHING
    document = json.loads(step.answer.body)
    return step.answer.status, document["errorType"], document["errorMessage"]


def test_registration_answers_with_the_function_and_an_identifier() -> None:
    step = api().register("inner", INVOKE)
    assert step.meaning is ExtensionMeaning.REGISTERED
    assert step.extension
    assert step.answer == Answer(
        200,
        b'{"functionName": "f", "functionVersion": "$LATEST", "handler": "app.handler"}',
        f"Lambda-Extension-Identifier: {uuid.UUID(step.extension.identifier)}\r\n".encode(),
    )
    with_account = api().register("inner", INVOKE, "accountId")
    assert with_account.answer
    assert json.loads(with_account.answer.body) == FUNCTION


def test_an_internal_extension_may_register_for_invoke_only() -> None:
    step = api().register("inner", b'{"events": ["INVOKE", "SHUTDOWN"]}')
    assert error(step) == (
        403,
        "Extension.InvalidEventType",
        "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension",
    )


def test_an_external_extension_may_register_for_both() -> None:
    extensions = api()
    extensions.launch(["probe.sh"])
    before = extensions.are_external_registered
    step = extensions.register("probe.sh", b'{"events": ["INVOKE", "SHUTDOWN"]}')
    assert (before, extensions.are_external_registered) == (False, True)
    assert step.extension
    assert (step.extension.is_external, step.extension.events) == (True, ("INVOKE", "SHUTDOWN"))
    assert [e.name for e in extensions.listeners("SHUTDOWN")] == ["probe.sh"]


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("", INVOKE, (403, "Extension.MissingHeader", "Lambda-Extension-Name header is missing")),
        ("a", b'{"events": ["FOO"]}', (403, "Extension.InvalidEventType", "FOO: InvalidEventType")),
        *(
            (
                "a",
                body,
                (
                    400,
                    "InvalidRequestFormat",
                    'Invalid registration: expected {"events": [...]} in JSON',
                ),
            )
            for body in (b"", b"[]", b"{", b'{"events": 1}', b'{"events": [1]}', b"\xff")
        ),
    ],
)
def test_a_bad_registration_is_refused(
    name: str, body: bytes, expected: tuple[int, str, str]
) -> None:
    extensions = api()
    assert error(extensions.register(name, body)) == expected
    assert extensions.registered == []


def test_names_are_unique_and_ten_is_the_limit() -> None:
    extensions, _ = registered("n0")
    assert error(extensions.register("n0", INVOKE)) == (
        403,
        "Extension.InvalidExtensionName",
        "Extension name 'n0' is registered already: names are unique",
    )
    for n in range(1, 10):
        extensions.register(f"n{n}", INVOKE)
    assert error(extensions.register("n10", INVOKE)) == (
        403,
        "Extension.TooManyExtensions",
        "Extension limit (10) reached",
    )


def test_registration_closes() -> None:
    extensions = api()
    extensions.is_registration_open = False
    assert error(extensions.register("late", INVOKE)) == (
        403,
        "Extension.RegistrationClosed",
        "Extension registration closed already",
    )


def test_extensions_are_idle_when_each_has_asked_for_its_next_event() -> None:
    extensions, identifier = registered()
    idle = [extensions.are_idle]
    assert extensions.next(identifier).meaning is ExtensionMeaning.NEXT
    idle.append(extensions.are_idle)
    extensions.begin(extensions.by_identifier[identifier])
    idle.append(extensions.are_idle)
    assert idle == [False, True, False]


@pytest.mark.parametrize(
    ("identifier", "error_type", "message"),
    [
        ("", "MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header"),
        ("x", "InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier"),
        (str(uuid.UUID(int=1)), "UnknownExtensionIdentifier", "Unknown extension identifier"),
    ],
)
def test_a_caller_that_is_not_registered_is_refused_everywhere(
    identifier: str, error_type: str, message: str
) -> None:
    extensions, _ = registered()
    expected = (403, f"Extension.{error_type}", message)
    assert error(extensions.next(identifier)) == expected
    assert error(extensions.init_error(identifier, "Extension.X")) == expected
    assert error(extensions.exit_error(identifier, "Extension.X")) == expected


def test_init_and_exit_errors_need_a_type_and_the_right_state() -> None:
    extensions, identifier = registered()
    missing = (
        403,
        "Extension.MissingHeader",
        "Lambda-Extension-Function-Error-Type header is missing",
    )
    assert error(extensions.init_error(identifier, "")) == missing
    assert error(extensions.exit_error(identifier, "")) == missing
    extensions.next(identifier)
    assert error(extensions.init_error(identifier, "Extension.X")) == (
        403,
        "Extension.InvalidExtensionState",
        (
            "State transition from Ready to InitError failed for extension inner. "
            "Error: State transition is not allowed"
        ),
    )
    step = extensions.exit_error(identifier, "Extension.Broken")
    assert (step.answer, step.meaning) == (
        Answer(202, b'{"status":"OK"}\n'),
        ExtensionMeaning.EXIT_ERROR,
    )
    assert extensions.by_identifier[identifier].state is ExtensionState.EXIT_ERROR
    assert error(extensions.next(identifier))[1] == "Extension.InvalidExtensionState"


def test_the_events_have_the_shape_of_aws() -> None:
    invoke = invoke_event(
        request_id="r", deadline_ms=5, invoked_function_arn="arn", trace_header="Root=1"
    )
    assert json.loads(invoke.body) == {
        "eventType": "INVOKE",
        "deadlineMs": 5,
        "requestId": "r",
        "invokedFunctionArn": "arn",
        "tracing": {"type": "X-Amzn-Trace-Id", "value": "Root=1"},
    }
    assert invoke.headers.startswith(b"Lambda-Extension-Event-Identifier: ")
    assert shutdown_event("spindown", 9) == Answer(
        200,
        b'{"eventType": "SHUTDOWN", "shutdownReason": "spindown", "deadlineMs": 9}',
        b"Content-Type: text/plain\r\n",
    )
