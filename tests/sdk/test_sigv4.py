"""The oracle is botocore's own signer."""

from __future__ import annotations

import string
from datetime import datetime, timezone
from typing import Any
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.sigv4 import Credentials, endpoint_of, signed_headers

letters = string.ascii_letters + string.digits
words = st.text(letters, min_size=1, max_size=12)
paths = st.lists(st.text(letters + "-._~ %ü$@+", max_size=8), max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)
queries = st.lists(st.tuples(words, words), max_size=4).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
header_values = st.text(letters + " -/;=,", min_size=1, max_size=20)


@given(
    path=paths,
    query=queries,
    extra=st.dictionaries(
        words.map(lambda word: "x-aws-" + word.lower()), header_values, max_size=4
    ),
    body=st.binary(max_size=200),
    key=words,
    secret=words,
    token=st.just("") | words,
    region=st.sampled_from(["us-east-1", "eu-west-1", "cn-north-1"]),
    service=st.sampled_from(["xray", "logs", "monitoring"]),
    now_s=st.integers(0, 4_000_000_000),
)
def test_any_request_is_signed_as_botocore_signs_it(
    path: str,
    query: str,
    extra: dict[str, str],
    body: bytes,
    key: str,
    secret: str,
    token: str,
    region: str,
    service: str,
    now_s: int,
) -> None:
    host = f"{service}.{region}.amazonaws.com"
    target = f"{path}?{query}" if query else path
    headers = {"Content-Type": "application/x-protobuf", **extra}
    request = AWSRequest("POST", f"https://{host}{target}", headers=headers, data=body)
    now = datetime.fromtimestamp(now_s, timezone.utc)
    with (
        mock.patch("botocore.auth.get_current_datetime", return_value=now),
        mock.patch("botocore.compat.get_current_datetime", return_value=now),
    ):
        SigV4Auth(BotocoreCredentials(key, secret, token or None), service, region).add_auth(
            request
        )
    expected: dict[str, Any] = dict(request.headers.items())
    found = signed_headers(
        target,
        {"Host": host, **headers},
        body,
        Credentials(key, secret, token),
        region,
        service,
        now_s,
    )
    assert {**headers, **found} == expected


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("xray.us-east-1.amazonaws.com", ("xray", "us-east-1")),
        ("LOGS.eu-west-1.amazonaws.com", ("logs", "eu-west-1")),
        ("monitoring.cn-north-1.amazonaws.com.cn", ("monitoring", "cn-north-1")),
        ("sqs.us-east-1.amazonaws.com", None),
        ("xray.us-east-1.amazonaws.com.example", None),
        ("xray.amazonaws.com", None),
        ("localhost", None),
    ],
)
def test_aws_endpoints_are_known_by_their_host(host: str, endpoint: tuple[str, str] | None) -> None:
    assert endpoint_of(host) == endpoint


def test_credentials_are_those_of_the_environment_and_do_not_show_the_secret() -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": "hidden",
        "AWS_SESSION_TOKEN": "token",
    }
    found = Credentials.from_env(environ)
    assert found is not None
    assert (found.access_key_id, found.secret_access_key, found.token) == (
        "AKID",
        "hidden",
        "token",
    )
    assert repr(found) == "Credentials(AKID)"
    assert Credentials.from_env({"AWS_ACCESS_KEY_ID": "AKID"}) is None
