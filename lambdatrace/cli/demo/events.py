"""Events in the shape AWS sends them."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

REGION, ACCOUNT_ID = "us-east-1", "123456789012"
DOMAIN = "a1b2c3d4e5.execute-api.us-east-1.amazonaws.com"


def post_order(order: dict[str, Any]) -> dict[str, Any]:
    """API Gateway HTTP API, payload format version 2.0."""
    body = json.dumps(order)
    now = time.time()
    return {
        "version": "2.0",
        "routeKey": "POST /orders",
        "rawPath": "/orders",
        "rawQueryString": "",
        "headers": {
            "accept": "*/*",
            "content-length": str(len(body)),
            "content-type": "application/json",
            "host": DOMAIN,
            "user-agent": "curl/8.5.0",
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": ACCOUNT_ID,
            "apiId": "a1b2c3d4e5",
            "domainName": DOMAIN,
            "domainPrefix": "a1b2c3d4e5",
            "http": {
                "method": "POST",
                "path": "/orders",
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "curl/8.5.0",
            },
            "requestId": uuid.uuid4().hex[:15] + "=",
            "routeKey": "POST /orders",
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "timeEpoch": int(now * 1000),
        },
        "body": body,
        "isBase64Encoded": False,
    }


def sqs_batch(sent: list[dict[str, Any]]) -> dict[str, Any]:
    """The batch Lambda would read after these `send_message` calls."""
    now_ms = str(int(time.time() * 1000))
    return {
        "Records": [
            {
                "messageId": str(uuid.uuid4()),
                "receiptHandle": "AQEB" + uuid.uuid4().hex,
                "body": arguments["MessageBody"],
                "attributes": {
                    "ApproximateReceiveCount": "1",
                    "AWSTraceHeader": arguments["MessageSystemAttributes"]["AWSTraceHeader"][
                        "StringValue"
                    ],
                    "SentTimestamp": now_ms,
                    "SenderId": "AROAEXAMPLE:orders",
                    "ApproximateFirstReceiveTimestamp": now_ms,
                },
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:orders-queue",
                "awsRegion": REGION,
            }
            for arguments in sent
        ]
    }


def s3_put(bucket: str, key: str) -> dict[str, Any]:
    """S3 notification of a new object."""
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": REGION,
                "eventTime": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
                "eventName": "ObjectCreated:Put",
                "userIdentity": {"principalId": "AWS:AIDAEXAMPLE"},
                "requestParameters": {"sourceIPAddress": "203.0.113.7"},
                "responseElements": {"x-amz-request-id": uuid.uuid4().hex[:16].upper()},
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": "price-lists",
                    "bucket": {
                        "name": bucket,
                        "ownerIdentity": {"principalId": "A3EXAMPLE"},
                        "arn": f"arn:aws:s3:::{bucket}",
                    },
                    "object": {"key": key, "size": 1024, "eTag": uuid.uuid4().hex},
                },
            }
        ]
    }


def schedule(rule: str) -> dict[str, Any]:
    """EventBridge's scheduled event."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT_ID,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "region": REGION,
        "resources": [f"arn:aws:events:{REGION}:{ACCOUNT_ID}:rule/{rule}"],
        "detail": {},
    }
