-- OTLP traces. The engine decodes the protobuf bodies itself: `otlp_traces` keeps nothing, its views
-- explode resource -> scope -> span. Fields keep their OTLP names.
--
-- Attributes stay what they are on the wire: a map from the key to the encoded AnyValue, so that no type
-- is lost (int against double, bytes, arrays, nested lists) and nothing is decoded twice. Events and links
-- stay encoded messages for the same reason: they are only ever read with their span.

-- Settings of all our MergeTree tables and why, measured at 150,000 spans/s on two cores:
-- old_parts_lifetime: ClickHouse's own default, where chDB deletes at once: ext4 looks over recently
--   deleted files for each file it makes, which took a tenth of the processor.
-- min_bytes_for_wide_part: a part below it has 13 files, above it 85.
-- merge_selector_base, min_parts_to_merge_at_once: merge more parts at a time, so each row fewer times;
--   merging took 30 % of the processor.
-- Together 13.5 -> 10.5 µs per span.

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

-- One row per distinct pair of resource and scope, not two maps per span: the spans of a request share
-- them, and writing them with each span costs more than the span. One table for both, since each view
-- costs an INSERT 14 ms however few rows it makes.
CREATE TABLE IF NOT EXISTS otlp_sources (
    source_id UInt64,
    resource_attributes Map(String, String),
    resource_dropped_attributes_count UInt32,
    resource_entity_refs Array(String),
    resource_schema_url String,
    scope_name String,
    scope_version String,
    scope_attributes Map(String, String),
    scope_dropped_attributes_count UInt32,
    scope_schema_url String
) ENGINE = ReplacingMergeTree ORDER BY source_id
SETTINGS min_parts_to_merge_at_once = 10, old_parts_lifetime = 480;

-- A span is its trace id and span id, and it keeps its start when it is sent again: a retried request
-- settles to one copy (read with FINAL). In order of trace id a trace is one place in each part, however many
-- spans there are; a bloom filter in order of time takes twice the processor, since it has to be read whole.
-- It costs an INSERT a tenth more. Of each part a mark's rows are read: with 1,024 instead of 8,192 of them, one
-- trace of 240,000 in 8 parts takes 14 instead of 57 ms of processor; an INSERT 4 % more, and a span 7 % on disk.
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
    source_id UInt64,
    received DateTime DEFAULT now()
) ENGINE = ReplacingMergeTree PARTITION BY toDate(received)
ORDER BY (trace_id, start_time_unix_nano, span_id) PRIMARY KEY trace_id
SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 268435456, merge_selector_base = 10,
    old_parts_lifetime = 480;

-- Only the sub-columns that are needed are unnested: with the spans in hand, this view would cost a
-- quarter of the INSERT.
CREATE MATERIALIZED VIEW IF NOT EXISTS otlp_traces_to_otlp_sources TO otlp_sources AS
SELECT
    sipHash64(resource, resource_schema_url, entry.1, entry.2) AS source_id,
    resource.attributes AS resource_attributes,
    resource.dropped_attributes_count AS resource_dropped_attributes_count,
    resource.entity_refs AS resource_entity_refs,
    resource_schema_url,
    entry.1.name AS scope_name,
    entry.1.version AS scope_version,
    entry.1.attributes AS scope_attributes,
    entry.1.dropped_attributes_count AS scope_dropped_attributes_count,
    entry.2 AS scope_schema_url
FROM (
    SELECT
        resource_entry.1 AS resource,
        resource_entry.2 AS resource_schema_url,
        arrayJoin(arrayZip(resource_entry.3, resource_entry.4)) AS entry
    FROM (
        SELECT arrayJoin(arrayZip(
            resource_spans.resource,
            resource_spans.schema_url,
            resource_spans.scope_spans.scope,
            resource_spans.scope_spans.schema_url)) AS resource_entry
        FROM otlp_traces
    )
);

-- service.name is an encoded AnyValue: byte 0x0a (field 1, string), its length as a varint of one byte
-- (below 128) or two, then the text.
CREATE MATERIALIZED VIEW IF NOT EXISTS otlp_traces_to_spans TO spans AS
SELECT
    span.trace_id AS trace_id,
    span.span_id AS span_id,
    span.parent_span_id AS parent_span_id,
    span.trace_state AS trace_state,
    -- Checked here, where it costs nothing per span in Python, and in a column rather than in WHERE,
    -- which would pass over every column. The receiver answers for a body that fails.
    span.flags + throwIf(
        length(span.trace_id) != 16 OR span.trace_id = repeat('\0', 16)
        OR length(span.span_id) != 8 OR span.span_id = repeat('\0', 8),
        'a trace_id is not 16 bytes or a span_id not 8 bytes, or one is all zero') AS flags,
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
    source_id
FROM (
    SELECT
        arrayJoin(entry.spans) AS span,
        sipHash64(resource, resource_schema_url, entry.scope, entry.schema_url) AS source_id,
        resource.attributes['service.name'] AS encoded_name,
        if(startsWith(encoded_name, '\n'),
           substring(encoded_name, if(reinterpretAsUInt8(substring(encoded_name, 2, 1)) < 128, 3, 4)),
           '') AS service_name
    FROM (
        SELECT
            arrayJoin(resource_entry.scope_spans) AS entry,
            resource_entry.resource AS resource,
            resource_entry.schema_url AS resource_schema_url
        FROM (SELECT arrayJoin(resource_spans) AS resource_entry FROM otlp_traces)
    )
);
