"""The same with the OpenTelemetry SDK set up by hand, as its documentation shows for Lambda.

The span is flushed before the response, as every layer built on that SDK does: nothing else would
be out before the environment is frozen. The metric goes the cheapest way there is, a line on
standard output.
"""

from __future__ import annotations

import json
import time
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider(resource=Resource.create({"service.name": "with-opentelemetry-sdk"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer(__name__)


def handler(event: Any, context: Any) -> Any:
    with tracer.start_as_current_span(context.function_name, kind=trace.SpanKind.SERVER) as span:
        span.set_attribute("faas.invocation_id", context.aws_request_id)
        print(
            json.dumps(
                {
                    "tier": "gold",
                    "OrdersPlaced": 1.0,
                    "_aws": {
                        "Timestamp": time.time_ns() // 1_000_000,
                        "CloudWatchMetrics": [
                            {
                                "Namespace": "shop",
                                "Dimensions": [["tier"]],
                                "Metrics": [{"Name": "OrdersPlaced", "Unit": "Count"}],
                            }
                        ],
                    },
                }
            )
        )
    provider.force_flush()
    return {"statusCode": 200}
