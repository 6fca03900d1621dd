from __future__ import annotations

import re

import pytest

from lambdatrace.patches.http_attributes import (
    Server,
    redact_url,
    request_attributes,
    span_name,
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com/a?b=1#part", "https://example.com/a?b=1"),
        ("https://user:word@example.com/@a", "https://REDACTED:REDACTED@example.com/@a"),
        ("https://user@example.com", "https://REDACTED@example.com"),
        ("https://u:p@w@example.com?a=@", "https://REDACTED:REDACTED@example.com?a=@"),
        ("https://x/?sig=1&a=&Signature=%20&b", "https://x/?sig=REDACTED&a=&Signature=REDACTED&b"),
        ("https://x/?X-Amz%2DSignature=1", "https://x/?X-Amz%2DSignature=REDACTED"),
        ("https://x/?cart=1", "https://x/?cart=REDACTED"),
        ("https://x/?", "https://x/?"),
        ("https://x/?apiKey=1&session_id=2", "https://x/?apiKey=REDACTED&session_id=REDACTED"),
        ("https://x/?passphrase=1&nextToken=2", "https://x/?passphrase=REDACTED&nextToken=2"),
        ("/only/a/path", "/only/a/path"),
    ],
)
def test_a_url_shows_no_credentials_and_no_secret_parameters(url: str, expected: str) -> None:
    assert redact_url(url, (re.compile("^cart$"),)) == expected


@pytest.mark.parametrize(
    ("scheme", "host", "port", "target", "expected"),
    [
        ("https", "example.com", 443, "/a", "https://example.com/a"),
        ("http", "example.com", 8080, "/a", "http://example.com:8080/a"),
        ("http", "::1", 80, "/a", "http://[::1]/a"),
        ("http", "proxy", 3128, "http://example.com/a", "http://example.com/a"),
        ("http", "x", None, "/a?to=http://y", "http://x/a?to=http://y"),
    ],
)
def test_a_url_is_put_together_from_where_a_request_goes(
    scheme: str, host: str, port: int | None, target: str, expected: str
) -> None:
    assert Server(scheme, host, port).url(target) == expected


def test_a_method_of_no_standard_is_other() -> None:
    assert span_name("BREW") == "HTTP"
    assert request_attributes("BREW", "http://x/", "x", None) == {
        "http.request.method": "_OTHER",
        "http.request.method_original": "BREW",
        "url.full": "http://x/",
        "server.address": "x",
    }


@pytest.mark.parametrize(
    "name",
    [
        *("AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"),
        *("X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token"),
        *("password", "pwd", "client_secret", "api_key", "token", "access_token", "id_token"),
    ],
)
def test_what_the_conventions_and_signed_urls_call_a_secret_is_one(name: str) -> None:
    assert redact_url(f"https://x/?{name}=1") == f"https://x/?{name}=REDACTED"
