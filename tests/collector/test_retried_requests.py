"""What a client sends again because no answer reached it is there once."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.collector.conftest import Collector


def sent_requests(client: Any) -> list[Any]:
    """The requests that `client` sends from now on, as they go over the wire."""
    sent: list[Any] = []
    client.meta.events.register("before-send", lambda request, **_: sent.append(request))
    return sent


def test_metric_data_sent_again_under_one_invocation_id_is_there_once(
    collector: Collector, unique: str
) -> None:
    cloudwatch = collector.client("cloudwatch")
    sent = sent_requests(cloudwatch)
    now = datetime.now(tz=timezone.utc)
    data = [{"MetricName": "m", "Value": value, "Timestamp": now} for value in (1.0, 2.0)]
    cloudwatch.put_metric_data(Namespace=unique, MetricData=data)
    (request,) = sent
    again = collector.post("/", request.body, dict(request.headers.items()))
    cloudwatch.put_metric_data(Namespace=unique, MetricData=data)  # a call of its own

    (point,) = cloudwatch.get_metric_statistics(
        Namespace=unique,
        MetricName="m",
        StartTime=now - timedelta(minutes=2),
        EndTime=now + timedelta(minutes=2),
        Period=3600,
        Statistics=["SampleCount", "Sum"],
    )["Datapoints"]
    assert again.status == 200
    assert (point["SampleCount"], point["Sum"]) == (4, 6)
