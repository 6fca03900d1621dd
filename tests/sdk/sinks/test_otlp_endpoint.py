from __future__ import annotations

import pytest

from lambdatrace.errors import SendError
from lambdatrace.http1 import Address
from lambdatrace.sinks.otlp_endpoint import signer

ENVIRON = {
    "AWS_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "AKID",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "first",
}


def test_requests_to_aws_are_signed_with_the_credentials_of_the_moment() -> None:
    environ = dict(ENVIRON)
    address = Address("https://xray.us-east-1.amazonaws.com/v1/traces")
    sign = signer("traces", address, environ, is_certain=False)
    assert sign is not None
    for key, token in (("AKID", "first"), ("OTHER", "second")):
        environ.update(AWS_ACCESS_KEY_ID=key, AWS_SESSION_TOKEN=token)
        replaced = {"User-Agent": "x", "authorization": "Bearer of-the-user"}
        signed = sign({"Content-Type": "application/x-protobuf", **replaced}, b"body")
        assert sorted(signed) == ["Authorization", "X-Amz-Date", "X-Amz-Security-Token"]
        assert signed["X-Amz-Security-Token"] == token
        date = signed["X-Amz-Date"][:8]
        assert signed["Authorization"].startswith(
            f"AWS4-HMAC-SHA256 Credential={key}/{date}/us-east-1/xray/aws4_request, "
            "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature="
        )


def test_other_hosts_are_signed_for_when_that_is_asked_for() -> None:
    address = Address("https://vpce-1.example.com/v1/logs")
    assert signer("logs", address, ENVIRON, is_certain=False) is None
    sign = signer("logs", address, ENVIRON, is_certain=True)
    assert sign is not None
    assert "/eu-west-1/logs/aws4_request" in sign({}, b"")["Authorization"]


def test_without_credentials_nothing_is_sent_and_the_records_wait() -> None:
    address = Address("https://logs.us-east-1.amazonaws.com/v1/logs")
    sign = signer("logs", address, {}, is_certain=False)
    assert sign is not None
    with pytest.raises(SendError, match="no AWS credentials"):
        sign({}, b"")
