-- OTLP traces. The engine decodes the protobuf bodies itself: `otlp_traces` keeps nothing, its views
-- explode resource -> scope -> span. Fields keep their OTLP names.
--
-- Attributes stay what they are on the wire: a map from the key to the encoded AnyValue, so that no type
-- is lost (int against double, bytes, arrays, nested lists) and nothing is decoded twice. Events and links
-- stay encoded messages for the same reason: they are only ever read with their span.

CREATE TABLE IF NOT EXISTS otlp_traces (
    resource_spans Array(Tuple(
        resource Tuple(
            attributes Map(String, String),
            dropped_attributes_count UInt32,
            entity_refs Array(String)),
        scope_spans Array(Tuple(
            scope Tuple(
                name String,
                version String,
                attributes Map(String, String),
                dropped_attributes_count UInt32),
            spans Array(Tuple(
                trace_id String,
                span_id String,
                trace_state String,
                parent_span_id String,
                flags UInt32,
                name String,
                kind Int32,
                start_time_unix_nano UInt64,
                end_time_unix_nano UInt64,
                attributes Map(String, String),
                dropped_attributes_count UInt32,
                events Array(String),
                dropped_events_count UInt32,
                links Array(String),
                dropped_links_count UInt32,
                status Tuple(message String, code Int32))),
            schema_url String)),
        schema_url String))
) ENGINE = Null;

-- One row per distinct resource, not one map per span: a request's spans share it, and writing it with
-- each of them costs more than the span.
CREATE TABLE IF NOT EXISTS resources (
    resource_id UInt64,
    attributes Map(String, String),
    dropped_attributes_count UInt32,
    entity_refs Array(String),
    schema_url String
) ENGINE = ReplacingMergeTree ORDER BY resource_id;

CREATE TABLE IF NOT EXISTS scopes (
    scope_id UInt64,
    name String,
    version String,
    attributes Map(String, String),
    dropped_attributes_count UInt32,
    schema_url String
) ENGINE = ReplacingMergeTree ORDER BY scope_id;

-- A span is its trace id and span id: a retried request settles to one copy (read with FINAL).
-- Partitions follow the day of arrival, which the sender cannot choose: one body with spans of a thousand
-- different days must not make a thousand parts.
CREATE TABLE IF NOT EXISTS spans (
    trace_id FixedString(16) CODEC(NONE),  -- random bytes do not compress
    span_id FixedString(8) CODEC(NONE),
    parent_span_id String,
    trace_state String,
    flags UInt32,
    service_name LowCardinality(String),  -- the resource's service.name, as text
    name LowCardinality(String),
    kind Int32,
    start_time_unix_nano UInt64,
    end_time_unix_nano UInt64,
    attributes Map(String, String),
    dropped_attributes_count UInt32,
    events Array(String),
    dropped_events_count UInt32,
    links Array(String),
    dropped_links_count UInt32,
    status_message String,
    status_code Int32,
    resource_id UInt64,
    scope_id UInt64,
    received DateTime DEFAULT now(),
    INDEX start_time start_time_unix_nano TYPE minmax GRANULARITY 4
) ENGINE = ReplacingMergeTree PARTITION BY toDate(received) ORDER BY (trace_id, span_id);

CREATE MATERIALIZED VIEW IF NOT EXISTS otlp_traces_to_resources TO resources AS
SELECT
    sipHash64(entry.resource, entry.schema_url) AS resource_id,
    entry.resource.attributes AS attributes,
    entry.resource.dropped_attributes_count AS dropped_attributes_count,
    entry.resource.entity_refs AS entity_refs,
    entry.schema_url AS schema_url
FROM (SELECT arrayJoin(resource_spans) AS entry FROM otlp_traces);

CREATE MATERIALIZED VIEW IF NOT EXISTS otlp_traces_to_scopes TO scopes AS
SELECT
    sipHash64(entry.scope, entry.schema_url) AS scope_id,
    entry.scope.name AS name,
    entry.scope.version AS version,
    entry.scope.attributes AS attributes,
    entry.scope.dropped_attributes_count AS dropped_attributes_count,
    entry.schema_url AS schema_url
FROM (SELECT arrayJoin(arrayJoin(resource_spans.scope_spans)) AS entry FROM otlp_traces);

-- service.name is an encoded AnyValue: byte 0x0a (field 1, string), its length as a varint of one byte
-- (below 128) or two, then the text.
CREATE MATERIALIZED VIEW IF NOT EXISTS otlp_traces_to_spans TO spans AS
SELECT
    span.trace_id AS trace_id,
    span.span_id AS span_id,
    span.parent_span_id AS parent_span_id,
    span.trace_state AS trace_state,
    span.flags AS flags,
    service_name,
    span.name AS name,
    span.kind AS kind,
    span.start_time_unix_nano AS start_time_unix_nano,
    span.end_time_unix_nano AS end_time_unix_nano,
    span.attributes AS attributes,
    span.dropped_attributes_count AS dropped_attributes_count,
    span.events AS events,
    span.dropped_events_count AS dropped_events_count,
    span.links AS links,
    span.dropped_links_count AS dropped_links_count,
    span.status.message AS status_message,
    span.status.code AS status_code,
    resource_id,
    scope_id
FROM (
    SELECT
        arrayJoin(scope_entry.spans) AS span,
        sipHash64(scope_entry.scope, scope_entry.schema_url) AS scope_id,
        resource_id,
        service_name
    FROM (
        SELECT
            arrayJoin(entry.scope_spans) AS scope_entry,
            sipHash64(entry.resource, entry.schema_url) AS resource_id,
            entry.resource.attributes['service.name'] AS encoded_name,
            if(startsWith(encoded_name, '\n'),
               substring(encoded_name, if(reinterpretAsUInt8(substring(encoded_name, 2, 1)) < 128, 3, 4)),
               '') AS service_name
        FROM (SELECT arrayJoin(resource_spans) AS entry FROM otlp_traces)
    )
)
-- Checked here, where it costs nothing per span in Python; the receiver answers for a body that fails.
WHERE throwIf(length(span.trace_id) != 16 OR span.trace_id = repeat('\0', 16), 'trace_id is not 16 bytes with one of them set') = 0
  AND throwIf(length(span.span_id) != 8 OR span.span_id = repeat('\0', 8), 'span_id is not 8 bytes with one of them set') = 0;
