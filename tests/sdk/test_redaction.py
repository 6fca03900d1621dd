"""What is a secret and what is not, and that nothing else is changed."""

from __future__ import annotations

import copy
from enum import Enum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lambdatrace
from lambdatrace.errors import SettingError
from lambdatrace.log_record import LogRecord
from lambdatrace.metric_points import MetricData
from lambdatrace.plain import CUT, DEPTH_MAX
from lambdatrace.records import Link, Scope, Span, SpanContext
from lambdatrace.redaction import (
    ITEMS_MAX,
    TEXT_LENGTH_MAX,
    Redaction,
    parse_keys,
    parse_values,
)
from lambdatrace.testing import LambdaContext, recording

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
redaction = Redaction()


@pytest.mark.parametrize(
    "key",
    [
        *("Authorization", "proxy-authorization", "Cookie", "set-cookie", "cookies", "password"),
        *("db_password", "userPassword", "PASSWD", "client_secret", "clientSecret", "token"),
        *("access_token", "idToken", "x-amz-security-token", "api key", "x-api-key", "apiKey"),
        *("apikey", "API_KEY", "aws_secret_access_key", "credentials", "Signature", "private_key"),
        *("http.request.header.authorization", "x-csrf-token", "privateKey", "cardNumber"),
        *("SecretString", "secrets", "passwords", "api_keys", "accessTokens"),
    ],
)
def test_a_value_under_such_a_key_is_redacted(key: str) -> None:
    assert redaction.mapping({key: "x", "n": 1}) == {key: "REDACTED", "n": 1}


@pytest.mark.parametrize(
    "key",
    [
        *(
            "gen_ai.usage.input_tokens",
            "token_type",
            "nextToken",
            "page_token",
            "password_reset_at",
        ),
        *("secretary", "signature_version", "monkey", "key", "author", "aws.dynamodb.table_names"),
        *("http.route", "faas.invocation_id", "cookie_policy", "tokenizer", "", "..."),
    ],
)
def test_a_value_under_such_a_key_is_not(key: str) -> None:
    assert redaction.mapping({key: "x"}) == {key: "x"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"jwt={JWT}; expired", "jwt=REDACTED; expired"),
        ("key AKIAIOSFODNN7EXAMPLE is old", "key REDACTED is old"),
        ("Authorization: Bearer abcdefghijklmnop1234", "Authorization: Bearer REDACTED"),
        ("paid with 4111111111111111.", "paid with REDACTED."),
        ("paid with 4111 1111 1111 1111", "paid with REDACTED"),
        ("amex 3782-822463-10005", "amex REDACTED"),
        ("postgres://me:hunter2@db:5432/x", "postgres://REDACTED:REDACTED@db:5432/x"),
        ("https://b.s3.eu/k?a=1&X-Amz-Signature=0f&b=2", "https://b.s3.eu/k?a=1&X-Amz-Signature=REDACTED&b=2"),
        ("sig=abc&x=1&AWSAccessKeyId=y", "sig=REDACTED&x=1&AWSAccessKeyId=REDACTED"),
        ("user=me&password=hunter2&b=c", "user=me&password=REDACTED&b=c"),
        ("login of user=me password=hunter2; denied", "login of user=me password=REDACTED; denied"),
        ('{"user": "me", "password": "hunter2"}', '{"user":"me","password":"REDACTED"}'),
        ('{"a":"{\\"token\\":1,\\"b\\":2}"}', '{"a":"{\\"token\\":\\"REDACTED\\",\\"b\\":2}"}'),
        ('got {"password" : "a\\"b", "n": 1} back', 'got {"password" : "REDACTED", "n": 1} back'),
        ('{"n": 1, "pin": 2, "password": "hun', '{"n": 1, "pin": 2, "password": "REDACTED"'),
        ('cut {"token": 123456, "n', 'cut {"token": REDACTED, "n'),
        ("event {'password': 'hunter2', 'n': 1}", "event {'password': 'REDACTED', 'n': 1}"),
        ("{'token': b'a\\'b', 'n': 1}", "{'token': b'REDACTED', 'n': 1}"),
        ("{'secrets': ['a', {'b': 'c'}], 'n': 1}", "{'secrets': REDACTED, 'n': 1}"),
        ("User(name='me', password='hun ter')", "User(name='me', password='REDACTED')"),
        (r'got "{\"pwd\":\"a b\",\"n\":1}"', r'got "{\"pwd\":\"REDACTED\",\"n\":1}"'),
        ('got {"body": "{\\"token\\": 12}"', 'got {"body": "{\\"token\\": REDACTED}"'),
        ("password: hunter2, user: me", "password: REDACTED, user: me"),
        ("Authorization: Basic bWU6aHVudGVyMg== sent", "Authorization: Basic REDACTED sent"),
        ("Cookie: a=b; c=d\nHost: x", "Cookie: REDACTED\nHost: x"),
        ("header is Basic bWU6aHVudGVyMg==", "header is Basic REDACTED"),
        ("pwd=abc", "pwd=REDACTED"),
        ("Authorization: ApiKey hunter2 x\nHost: x", "Authorization: REDACTED\nHost: x"),
        ('Authorization: Digest username="u", response="f0"', "Authorization: Digest REDACTED"),
        ("curl -H 'Authorization: Key a b' https://x", "curl -H 'Authorization: REDACTED' https://x"),
        ("[('Authorization', 'Key a'), ('n', 1)]", "[('Authorization', 'REDACTED'), ('n', 1)]"),
        ("{(b'password', b'a b')}", "{(b'password', b'REDACTED')}"),
        ("psql --password hunter2 -h x", "psql --password REDACTED -h x"),
        ("<u>me</u><password>a b</password>", "<u>me</u><password>REDACTED</password>"),
        ("password: correct horse\nuser: me", "password: REDACTED\nuser: me"),
        ("password: correct horse, user: me", "password: REDACTED, user: me"),
        ("next=%2Fa%3Ftoken%3Dhunter2&b=1", "next=%2Fa%3Ftoken%3DREDACTED&b=1"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\n", "REDACTED\n"),
    ],
)  # fmt: skip
def test_a_secret_in_a_text_is_redacted_and_the_rest_stays(text: str, expected: str) -> None:
    assert redaction.text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # the last digit is wrong
        "1700000000000000000",  # a time in nanoseconds
        "11111111-2222-3333-4444-555555555555",
        "arn:aws:lambda:eu-west-1:123456789012:function:orders",
        "0af7651916cd43dd8448eb211c80319c",
        "0.4111111111111111",
        "the bearer of good news is here",
        "eyJustText and more",
        "https://example.com/a?b=c#d@e",
        "me@example.com",
        "AKIA is a prefix",
        "design=flat&assign=1&next_token=abc",
        '{"user": "me", "n":  [1, 2]}',
        'said "token" and left',
        "Basic authentication is asked for",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db",
        "AWS::SecretsManager::Secret::Name",
    ],
)
def test_an_ordinary_text_stays(text: str) -> None:
    assert redaction.text(text) is text


def test_what_is_nested_is_searched_and_the_original_stays() -> None:
    event = {"headers": {"Cookie": ["a=b"]}, "body": [{"card": 4111111111111111, "n": 7}]}
    before = copy.deepcopy(event)
    assert redaction.value(event) == {
        "headers": {"Cookie": "REDACTED"},
        "body": [{"card": "REDACTED", "n": 7}],
    }
    assert event == before


def test_bytes_are_searched_as_the_text_they_hold() -> None:
    assert redaction.value(b'{"password":"hunter2"}') == b'{"password":"REDACTED"}'
    assert redaction.value([b"\xff password=x"]) == [b"\xff password=REDACTED"]
    assert redaction.value({b"password": b"x", b"n": 1}) == {b"password": "REDACTED", b"n": 1}
    binary = bytes(range(256))
    assert redaction.value(binary) is binary


def test_a_mapping_of_another_type_is_searched_as_it_is_written() -> None:
    shown = redaction.value(MappingProxyType({"password": "hunter2", "n": 1}))
    assert shown == "{'password': 'REDACTED', 'n': 1}"


def test_headers_as_pairs_and_as_names_with_values_are_judged_by_their_names() -> None:
    headers = [["authorization", "x"], ("Cookie", "y"), [b"x-api-key", b"z"], ["accept", "*"]]
    assert redaction.value(headers) == [
        ["authorization", "REDACTED"],
        ["Cookie", "REDACTED"],
        [b"x-api-key", "REDACTED"],
        ["accept", "*"],
    ]
    assert redaction.value([{"name": "Authorization", "value": "x"}, {"Key": "n", "Value": 1}]) == [
        {"name": "Authorization", "value": "REDACTED"},
        {"Key": "n", "Value": 1},
    ]
    assert redaction.value(["password", "token"]) == ["password", "token"]
    assert redaction.value([["password", "a", "b"], {"name": "password", "values": ["c"]}]) == [
        ["password", "REDACTED", "REDACTED"],
        {"name": "password", "values": "REDACTED"},
    ]


class Field(Enum):
    PASSWORD = 1
    USER = "user"
    PIN = "api_key"


def test_a_key_that_is_an_enum_is_judged_by_its_name_and_its_value() -> None:
    shown = redaction.value({Field.PASSWORD: "a", Field.USER: "b", Field.PIN: "c"})
    assert shown == {Field.PASSWORD: "REDACTED", Field.USER: "b", Field.PIN: "REDACTED"}


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1000, 1000)
    | st.floats()
    | st.text("01.-é=: ", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("01.-é", max_size=3), inner)
    ),
)


@given(values)
def test_a_value_without_secrets_is_given_back_itself(value: Any) -> None:
    assert redaction.value(value) is value


@given(st.text(max_size=200))
def test_redacting_twice_is_the_same_as_once(text: str) -> None:
    once = redaction.text(text + " " + JWT)
    assert redaction.text(once) == once
    assert JWT not in once


def test_depth_size_and_length_are_bounded() -> None:
    deep: list[Any] = []
    deep.append(deep)
    shown = redaction.value(deep)
    for _ in range(DEPTH_MAX - 1):
        (shown,) = shown
    assert shown == [CUT]
    wide = redaction.value([0] * (ITEMS_MAX + 1))
    assert wide == [0] * ITEMS_MAX + [CUT]
    assert redaction.text("x" * (TEXT_LENGTH_MAX + 1)) == "x" * TEXT_LENGTH_MAX + CUT


def test_what_is_written_by_its_str_is_judged_by_it() -> None:
    class Order:
        def __init__(self, text: str) -> None:
            self.text = text

        def __str__(self) -> str:
            return self.text

    plain = Order("7")
    assert redaction.value(plain) is plain
    assert redaction.value(Order(JWT)) == "REDACTED"


def test_users_add_keys_and_values_by_name_and_by_regular_expression() -> None:
    rules = Redaction(
        parse_keys("KEYS", "order_ref, /^x-[a-z]{1,3}$/"),
        parse_values("VALUES", "hunter2,/cust-[0-9]{3,5}/"),
    )
    given_ = {"app.Order_Ref": "1", "x-ab": "2", "x-abcd": "3", "m": "cust-1234 has hunter2"}
    assert rules.mapping(given_) == {
        "app.Order_Ref": "REDACTED",
        "x-ab": "REDACTED",
        "x-abcd": "3",
        "m": "REDACTED has REDACTED",
    }


def test_an_expression_that_is_none_is_a_bad_setting() -> None:
    with pytest.raises(SettingError, match=r"^LAMBDATRACE_REDACT_KEYS is '/\(/': expected texts"):
        parse_keys("LAMBDATRACE_REDACT_KEYS", "a,/(/")


def test_a_span_is_redacted_in_all_its_parts_and_a_clean_one_is_given_back() -> None:
    context = SpanContext("1" * 32, "2" * 16)
    clean = Span("GET /orders", context, None, 1, attributes={"n": 1}, links=[Link(context)])
    clean.add_event("sent", 2, {"to": "queue"})
    clean.end(3)
    assert redaction.record(clean) is clean

    link = Link(context, {"password": "x"})
    span = Span(f"GET /{JWT}", context, context, 1, kind=3, attributes={"token": "t"}, links=[link])
    span.add_event("exception", 2, {"exception.message": f"bad {JWT}"})
    span.set_status(2, f"bad {JWT}")
    span.end(3)
    kept = redaction.record(span)
    assert (kept.name, kept.kind, kept.start_ns, kept.end_ns) == ("GET /REDACTED", 3, 1, 3)
    assert (kept.context, kept.parent) == (context, context)
    assert (kept.status_code, kept.status_message) == (2, "bad REDACTED")
    assert kept.attributes == {"token": "REDACTED"}
    assert kept.events[0].attributes == {"exception.message": "bad REDACTED"}
    assert kept.links[0].attributes == {"password": "REDACTED"}
    assert span.attributes == {"token": "t"}


def test_a_log_record_is_redacted_and_a_clean_one_is_given_back() -> None:
    clean = LogRecord("done", 1, attributes={"n": 1})
    assert redaction.record(clean) is clean
    record = LogRecord(
        {"password": "x"}, 2, time_ns=1, severity_number=9, attributes={"m": JWT}, event_name="e"
    )
    kept = redaction.record(record)
    assert (kept.body, kept.attributes) == ({"password": "REDACTED"}, {"m": "REDACTED"})
    assert (kept.observed_ns, kept.time_ns, kept.severity_number, kept.event_name) == (2, 1, 9, "e")


def test_names_of_events_and_attributes_of_scopes_are_redacted() -> None:
    context = SpanContext("1" * 32, "2" * 16)
    scope = Scope("lib", "1", schema_url="u", attributes={"token": "t", "n": 1})
    span = Span("GET", context, None, 1, scope=scope)
    span.add_event(f"got {JWT}", 2, {})
    other = Span("PUT", context, None, 1, scope=scope)
    kept = redaction.record(span)
    assert [(event.name, event.time_ns) for event in kept.events] == [("got REDACTED", 2)]
    shown = kept.scope
    assert (shown.name, shown.version, shown.schema_url) == ("lib", "1", "u")
    assert shown.attributes == {"token": "REDACTED", "n": 1}
    assert redaction.record(other).scope is shown  # one scope to send, not one for each record
    assert scope.attributes == {"token": "t", "n": 1}
    record = redaction.record(LogRecord("x", 1, event_name=f"got {JWT}", scope=scope))
    assert (record.event_name, record.scope) == ("got REDACTED", shown)
    metric = redaction.record(MetricData("orders", [], scope=scope, unit="1"))
    assert (metric.name, metric.scope) == ("orders", shown)


def _attributes(environment: dict[str, str]) -> dict[str, Any]:
    with recording(environment) as recorded:

        @lambdatrace.instrument
        def handler(_event: Any, _context: Any) -> None:
            with lambdatrace.span("work", attributes={"password": "x", "ref": "r"}):
                pass

        handler({}, LambdaContext())
        lambdatrace.flush()
    return recorded.span("work").attributes


def test_what_a_function_records_leaves_without_secrets_unless_switched_off() -> None:
    assert _attributes({}) == {"password": "REDACTED", "ref": "r"}
    assert _attributes({"LAMBDATRACE_REDACTION": "false"}) == {"password": "x", "ref": "r"}
    more = {"LAMBDATRACE_REDACT_KEYS": "ref"}
    assert _attributes(more) == {"password": "REDACTED", "ref": "REDACTED"}


@pytest.mark.parametrize(
    "part",
    ["password: a ", "('password', ", "--password ", "<password>", "'token: ", "token%3D", "a%26"],
)
def test_keys_without_end_are_searched_in_linear_time(part: str) -> None:
    redaction.text(part * (TEXT_LENGTH_MAX // len(part)))  # quadratic, it would take minutes
