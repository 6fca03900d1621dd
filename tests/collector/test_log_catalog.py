from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.collector.conftest import Collector

ARN = "arn:aws:logs:eu-west-1:123456789012:log-group"
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def logs(collector: Collector) -> Any:
    return collector.client("logs")


@pytest.fixture
def group(logs: Any, unique: str) -> str:
    logs.create_log_group(logGroupName=unique)
    logs.create_log_stream(logGroupName=unique, logStreamName="s")
    return unique


def put(logs: Any, group: str, *messages: str, age_ms: int = 0, stream: str = "s") -> Any:
    moment = time.time_ns() // 1_000_000 - age_ms
    return logs.put_log_events(
        logGroupName=group,
        logStreamName=stream,
        logEvents=[{"timestamp": moment, "message": message} for message in messages],
    )


def messages(logs: Any, group: str) -> list[str]:
    return [event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]]


def refused(call: Any, **parameters: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


NO_GROUP = ("ResourceNotFoundException", "The specified log group does not exist.")


def test_a_deleted_group_is_gone_and_one_made_again_is_empty(logs: Any, group: str) -> None:
    put(logs, group, "old")
    logs.put_metric_filter(
        logGroupName=group,
        filterName="f",
        filterPattern="",
        metricTransformations=[
            {"metricName": "m", "metricNamespace": group, "metricValue": "1"},
        ],
    )
    logs.delete_log_group(logGroupName=group)
    assert refused(logs.filter_log_events, logGroupName=group) == NO_GROUP
    assert refused(logs.delete_log_group, logGroupName=group) == NO_GROUP
    assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"] == []

    logs.create_log_group(logGroupName=group)
    assert messages(logs, group) == []
    assert logs.describe_log_streams(logGroupName=group)["logStreams"] == []
    assert logs.describe_metric_filters(logGroupName=group)["metricFilters"] == []
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    put(logs, group, "new")
    assert messages(logs, group) == ["new"]


def test_a_deleted_stream_takes_its_events_along(logs: Any, group: str) -> None:
    logs.create_log_stream(logGroupName=group, logStreamName="other")
    put(logs, group, "gone")
    put(logs, group, "kept", stream="other")
    logs.delete_log_stream(logGroupName=group, logStreamName="s")
    streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert messages(logs, group) == ["kept"]
    assert [stream["logStreamName"] for stream in streams] == ["other"]
    assert refused(
        logs.get_log_events, logGroupName=group, logStreamName="s", startFromHead=True
    ) == ("ResourceNotFoundException", "The specified log stream does not exist.")


def test_a_protected_group_is_not_deleted(logs: Any, unique: str) -> None:
    logs.create_log_group(logGroupName=unique, deletionProtectionEnabled=True)
    code, _ = refused(logs.delete_log_group, logGroupName=unique)
    (described,) = logs.describe_log_groups(logGroupNamePrefix=unique)["logGroups"]
    logs.put_log_group_deletion_protection(
        logGroupIdentifier=unique, deletionProtectionEnabled=False
    )
    logs.delete_log_group(logGroupName=unique)
    assert (code, described["deletionProtectionEnabled"]) == ("InvalidOperationException", True)


def test_what_is_older_than_the_retention_is_gone_and_not_taken(logs: Any, group: str) -> None:
    put(logs, group, "two days old", age_ms=2 * DAY_MS)
    put(logs, group, "fresh")
    logs.put_retention_policy(logGroupName=group, retentionInDays=1)
    (described,) = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    expired = put(logs, group, "again", "and again", age_ms=2 * DAY_MS)
    after = messages(logs, group)
    logs.delete_retention_policy(logGroupName=group)
    (later,) = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]

    assert described["retentionInDays"] == 1
    assert described["storedBytes"] == len("fresh") + 26
    assert expired["rejectedLogEventsInfo"] == {"expiredLogEventEndIndex": 2}
    assert after == messages(logs, group) == ["fresh"]
    assert "retentionInDays" not in later


def test_a_retention_that_aws_does_not_have_is_refused(logs: Any, group: str) -> None:
    code, message = refused(logs.put_retention_policy, logGroupName=group, retentionInDays=2)
    assert code == "InvalidParameterException"
    assert "Member must satisfy enum value set: [1, 3, 5, 7, 14" in message


def test_tags_are_the_same_for_both_generations_of_operations(logs: Any, unique: str) -> None:
    arn = f"{ARN}:{unique}"
    logs.create_log_group(logGroupName=unique, tags={"made": "first"})
    logs.tag_resource(resourceArn=arn, tags={"team": "a", "cost": "1"})
    logs.tag_log_group(logGroupName=unique, tags={"team": "b"})
    expected = {"made": "first", "team": "b", "cost": "1"}
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == expected
    assert logs.list_tags_log_group(logGroupName=unique)["tags"] == expected
    logs.untag_resource(resourceArn=arn, tagKeys=["team"])
    logs.untag_log_group(logGroupName=unique, tags=["cost"])
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"made": "first"}
    many = {f"k{number}": "v" for number in range(50)}
    assert refused(logs.tag_resource, resourceArn=arn, tags=many)[0] == "TooManyTagsException"
    assert refused(logs.list_tags_for_resource, resourceArn=f"{ARN}:absent") == NO_GROUP


def test_groups_are_listed_by_a_pattern_of_names(logs: Any, unique: str) -> None:
    for name in ("one", "two", "three"):
        logs.create_log_group(logGroupName=f"{unique}/{name}")
    part = unique.removeprefix("test-")

    def names(pattern: str, **parameters: Any) -> list[str]:
        answer = logs.list_log_groups(logGroupNamePattern=pattern, **parameters)
        return [entry["logGroupName"] for entry in answer["logGroups"]]

    assert names(f"^{unique}") == [f"{unique}/{name}" for name in ("one", "three", "two")]
    assert names(f"{part}/one|{part}/two") == [f"{unique}/one", f"{unique}/two"]
    assert refused(logs.list_log_groups, logGroupNamePattern="a(b)")[0] == (
        "InvalidParameterException"
    )


def test_a_key_is_kept_and_shown(logs: Any, group: str) -> None:
    key = "arn:aws:kms:eu-west-1:123456789012:key/1"
    logs.associate_kms_key(logGroupName=group, kmsKeyId=key)
    (with_key,) = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    logs.disassociate_kms_key(resourceIdentifier=f"{ARN}:{group}")
    (without,) = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert (with_key["kmsKeyId"], "kmsKeyId" in without) == (key, False)


def test_destinations_are_kept(logs: Any, unique: str) -> None:
    target = "arn:aws:kinesis:eu-west-1:123456789012:stream/s"
    role = "arn:aws:iam::123456789012:role/r"
    made = logs.put_destination(destinationName=unique, targetArn=target, roleArn=role)
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    logs.put_destination_policy(destinationName=unique, accessPolicy=policy)
    (described,) = logs.describe_destinations(DestinationNamePrefix=unique)["destinations"]
    assert described == {**made["destination"], "accessPolicy": policy}
    assert described["arn"] == f"arn:aws:logs:eu-west-1:123456789012:destination:{unique}"
    logs.delete_destination(destinationName=unique)
    assert logs.describe_destinations(DestinationNamePrefix=unique)["destinations"] == []
    assert refused(logs.delete_destination, destinationName=unique)[0] == (
        "ResourceNotFoundException"
    )


def test_resource_policies_are_kept(collector: Collector, unique: str) -> None:
    logs = collector.client("logs", "ap-south-1")
    document = json.dumps({"Version": "2012-10-17", "Statement": []})
    logs.put_resource_policy(policyName=unique, policyDocument=document)
    (policy,) = logs.describe_resource_policies()["resourcePolicies"]
    logs.delete_resource_policy(policyName=unique)
    after = logs.describe_resource_policies()["resourcePolicies"]
    assert (policy["policyName"], policy["policyDocument"], after) == (unique, document, [])
    assert refused(logs.delete_resource_policy, policyName=unique) == (
        "ResourceNotFoundException",
        f"Policy with name [{unique}] does not exist.",
    )


def test_saved_queries_are_kept_and_paged_by_name(logs: Any, unique: str) -> None:
    ids = {}
    for name in ("b", "a", "c"):
        answer = logs.put_query_definition(
            name=f"{unique}/{name}", queryString="fields @message", logGroupNames=["g"]
        )
        ids[name] = answer["queryDefinitionId"]
    logs.put_query_definition(queryDefinitionId=ids["a"], name=f"{unique}/a", queryString="limit 1")
    first = logs.describe_query_definitions(queryDefinitionNamePrefix=unique, maxResults=2)
    second = logs.describe_query_definitions(
        queryDefinitionNamePrefix=unique, maxResults=2, nextToken=first["nextToken"]
    )
    found = first["queryDefinitions"] + second["queryDefinitions"]
    assert [(entry["name"][-1], entry["queryString"]) for entry in found] == [
        ("a", "limit 1"),
        ("b", "fields @message"),
        ("c", "fields @message"),
    ]
    assert "nextToken" not in second
    assert logs.delete_query_definition(queryDefinitionId=ids["a"])["success"] is True
    assert refused(logs.delete_query_definition, queryDefinitionId=ids["a"])[0] == (
        "ResourceNotFoundException"
    )


def test_an_entity_that_is_none_is_told_and_the_events_are_stored(logs: Any, group: str) -> None:
    def answer(entity: Any) -> Any:
        return logs.put_log_events(
            logGroupName=group,
            logStreamName="s",
            logEvents=[{"timestamp": time.time_ns() // 1_000_000, "message": "m"}],
            entity=entity,
        ).get("rejectedEntityInfo")

    assert answer({"keyAttributes": {"Type": "Service", "Name": "n"}}) is None
    assert answer({"keyAttributes": {"Name": "n", "Environment": "e"}}) == {
        "errorType": "MissingRequiredFields"
    }
    assert messages(logs, group) == ["m", "m"]


def test_groups_and_filters_are_there_after_a_restart(
    start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    first = start_collector(tmp_path / "store")
    logs = first.client("logs")
    logs.create_log_group(logGroupName="g", tags={"a": "b"})
    logs.put_retention_policy(logGroupName="g", retentionInDays=3)
    logs.create_log_group(logGroupName="gone")
    logs.delete_log_group(logGroupName="gone")
    first.stop()
    logs = start_collector(tmp_path / "store").client("logs")
    (described,) = logs.describe_log_groups()["logGroups"]
    assert (described["logGroupName"], described["retentionInDays"]) == ("g", 3)
    assert logs.list_tags_log_group(logGroupName="g")["tags"] == {"a": "b"}
