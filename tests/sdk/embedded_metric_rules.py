"""What the embedded metric format asks of a log line, written from its specification.

Source: CloudWatch User Guide, "Specification: Embedded metric format", its JSON schema and the
limits of a metric datum. `samples` gives what CloudWatch would store of a line.
"""

from __future__ import annotations

import json
import math
from typing import Any

import botocore.session

UNITS = set(
    botocore.session.get_session().get_service_model("cloudwatch").shape_for("StandardUnit").enum
)
EVENT_BYTES_MAX = 256 * 1024
DAY_MS = 24 * 3600 * 1000

Sample = tuple[str, tuple[tuple[str, str], ...], str, str, int, int, tuple[float, ...]]


def samples(line: str, now_ms: int) -> list[Sample]:
    """(namespace, dimensions, name, unit, resolution, timestamp, values); asserts every rule."""
    assert "\n" not in line
    assert line.isascii()
    assert len(line) <= EVENT_BYTES_MAX
    root = json.loads(line, parse_constant=refuse_constant, object_pairs_hook=without_duplicates)
    json.dumps(root, ensure_ascii=False).encode()  # no lone surrogate
    metadata = root["_aws"]
    assert set(metadata) == {"Timestamp", "CloudWatchMetrics"}
    timestamp = metadata["Timestamp"]
    assert type(timestamp) is int
    assert now_ms - 14 * DAY_MS <= timestamp <= now_ms + DAY_MS // 12
    found = []
    for directive in metadata["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        namespace = directive["Namespace"]
        assert 1 <= len(namespace) <= 255
        assert not namespace.startswith("AWS/")
        assert 1 <= len(directive["Metrics"]) <= 100
        assert len(directive["Dimensions"]) >= 1
        names = [definition["Name"] for definition in directive["Metrics"]]
        assert len(set(names)) == len(names)
        for keys in directive["Dimensions"]:
            dimensions = dimensions_of(root, keys)
            assert not {key for key, _ in dimensions} & {*names, "_aws"}
            for definition in directive["Metrics"]:
                assert set(definition) <= {"Name", "Unit", "StorageResolution"}
                assert definition["Unit"] in UNITS
                assert definition.get("StorageResolution", 60) in {1, 60}
                found.append(
                    (
                        namespace,
                        dimensions,
                        definition["Name"],
                        definition["Unit"],
                        definition.get("StorageResolution", 60),
                        timestamp,
                        values_of(root, definition["Name"]),
                    )
                )
    return found


def dimensions_of(root: dict[str, Any], keys: list[str]) -> tuple[tuple[str, str], ...]:
    assert len(keys) <= 30
    assert len(set(keys)) == len(keys)
    for key in keys:
        text = root[key]
        assert 1 <= len(key) <= 255
        assert key.isascii()
        assert key.isprintable()
        assert not key.startswith(":")
        assert type(text) is str
        assert 1 <= len(text) <= 1024
        assert text.isascii()
        assert text.isprintable()
        assert text.strip()
    return tuple(sorted((key, root[key]) for key in keys))


def values_of(root: dict[str, Any], name: str) -> tuple[float, ...]:
    assert 1 <= len(name) <= 255
    given = root[name]
    values = given if isinstance(given, list) else [given]
    assert 1 <= len(values) <= 100
    for value in values:
        assert type(value) in {int, float}
        assert math.isfinite(value)
        assert abs(value) <= 2.0**360
    return tuple(values)


def refuse_constant(text: str) -> None:
    raise AssertionError(f"{text} is no JSON")


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({key for key, _ in pairs}) == len(pairs)
    return dict(pairs)
