-- OTLP logs. As with traces, the engine decodes the bodies: a row of `otlp_logs` is a group of requests, each
-- in an envelope that says whose it is and where its events go. A record is kept whole in `log_records`, and
-- is an event of its log group as well, whose message is the JSON that CloudWatch's OTLP endpoint stores.
-- Both have the same event_id.

CREATE TABLE IF NOT EXISTS otlp_logs (
    requests Array(Tuple(
        data Tuple(resource_logs Array(Tuple(
            resource Tuple(
                attributes Map(String, String),
                dropped_attributes_count UInt32,
                entity_refs Array(String),
                nested_json Map(String, String)),
            scope_logs Array(Tuple(
                scope Tuple(
                    name String,
                    version String,
                    attributes Map(String, String),
                    dropped_attributes_count UInt32,
                    nested_json Map(String, String)),
                log_records Array(Tuple(
                    time_unix_nano UInt64,
                    observed_time_unix_nano UInt64,
                    severity_number Int32,
                    severity_text String,
                    body String,
                    attributes Map(String, String),
                    dropped_attributes_count UInt32,
                    flags UInt32,
                    trace_id String,
                    span_id String,
                    event_name String,
                    nested_json Map(String, String))),
                schema_url String)),
            schema_url String))),
        log_groups Array(String),
        log_streams Array(String),
        account String,
        region String,
        received_ms Int64,
        first_event_id_high UInt64,
        first_event_id_low UInt64))
) ENGINE = Null;

-- The event id is given once, when the request arrives: a record that is written again settles to one copy
-- (read with FINAL). Those of a trace are found by the bloom filter.
CREATE TABLE IF NOT EXISTS log_records (
    event_id UInt128,
    account LowCardinality(String),
    region LowCardinality(String),
    log_group LowCardinality(String),
    log_stream LowCardinality(String),
    received_ms Int64,
    time_unix_nano UInt64,
    observed_time_unix_nano UInt64,
    severity_number Int32,
    severity_text LowCardinality(String),
    body String CODEC(ZSTD(1)),
    attributes Map(String, String),
    dropped_attributes_count UInt32,
    flags UInt32,
    trace_id String,
    span_id String,
    event_name LowCardinality(String),
    source_id UInt64,
    INDEX trace trace_id TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = ReplacingMergeTree
PARTITION BY toDate(fromUnixTimestamp64Milli(received_ms, 'UTC'))
ORDER BY event_id
SETTINGS old_parts_lifetime = 480;

CREATE MATERIALIZED VIEW IF NOT EXISTS otlp_logs_to_sources TO otlp_sources AS
SELECT
    sipHash64(resource.attributes, resource.dropped_attributes_count, resource.entity_refs, resource_schema_url,
        scope.name, scope.version, scope.attributes, scope.dropped_attributes_count, scope_schema_url) AS source_id,
    resource.attributes AS resource_attributes,
    resource.dropped_attributes_count AS resource_dropped_attributes_count,
    resource.entity_refs AS resource_entity_refs,
    resource_schema_url,
    scope.name AS scope_name,
    scope.version AS scope_version,
    scope.attributes AS scope_attributes,
    scope.dropped_attributes_count AS scope_dropped_attributes_count,
    scope_schema_url
FROM (
    SELECT resource, resource_schema_url, entry.1 AS scope, entry.2 AS scope_schema_url
    FROM (
        SELECT
            resource_entry.resource AS resource,
            resource_entry.schema_url AS resource_schema_url,
            arrayJoin(arrayZip(resource_entry.scope_logs.scope, resource_entry.scope_logs.schema_url)) AS entry
        FROM (SELECT arrayJoin(arrayJoin(requests.data.resource_logs)) AS resource_entry FROM otlp_logs)
    )
);

-- The records of the requests, each with what its resource and scope add to its message. Keeps nothing: made
-- once for the two views that read it.
CREATE TABLE IF NOT EXISTS otlp_log_records (
    event_id UInt128,
    account String,
    region String,
    log_group String,
    log_stream String,
    received_ms Int64,
    event_ms Int64,
    message String,
    source_id UInt64,
    record Tuple(
        time_unix_nano UInt64,
        observed_time_unix_nano UInt64,
        severity_number Int32,
        severity_text String,
        body String,
        attributes Map(String, String),
        dropped_attributes_count UInt32,
        flags UInt32,
        trace_id String,
        span_id String,
        event_name String,
        nested_json Map(String, String))
) ENGINE = Null;

-- An encoded AnyValue is the tag of its one field and the value. Text and bytes have their length before
-- them, a varint: protobuf writes it in as few bytes as it takes, and the receiver writes every request anew.
CREATE MATERIALIZED VIEW IF NOT EXISTS otlp_logs_to_otlp_log_records TO otlp_log_records AS
WITH
    encoded -> substring(encoded,
        multiIf(length(encoded) < 130, 3, length(encoded) < 16387, 4, length(encoded) < 2097156, 5, 6)) AS payload,
    encoded -> reinterpretAsInt64(arraySum(
        place -> bitShiftLeft(toUInt64(bitAnd(reinterpretAsUInt8(substring(encoded, place + 2, 1)), 127)), 7 * place),
        range(length(encoded) - 1))) AS varint,
    number -> if(isFinite(number), toString(number),
        multiIf(isNaN(number), '"NaN"', number > 0, '"Infinity"', '"-Infinity"')) AS double_json,
    (encoded, nested) -> multiIf(
        startsWith(encoded, '\x0a'), toJSONString(payload(encoded)),
        startsWith(encoded, '\x10'), if(encoded = '\x10\x01', 'true', 'false'),
        startsWith(encoded, '\x18'), toString(varint(encoded)),
        startsWith(encoded, '\x21'), double_json(reinterpretAsFloat64(substring(encoded, 2))),
        startsWith(encoded, '\x3a'), toJSONString(base64Encode(payload(encoded))),
        nested = '', 'null', nested) AS value_json,
    (attributes, nested) -> concat('{', arrayStringConcat(arrayMap(
        (key, encoded) -> concat(toJSONString(key), ':', value_json(encoded, nested[key])),
        mapKeys(attributes), mapValues(attributes)), ','), '}') AS attributes_json
SELECT
    first_event_id + scope_entry.2 + record_entry.2 - 1 AS event_id,
    account,
    region,
    log_group,
    log_stream,
    received_ms,
    -- CloudWatch takes events from two weeks back to two hours ahead, which bounds the partitions of one INSERT.
    -- Checked here, where it costs nothing per record in Python; the receiver answers for a body that fails.
    record_ms + throwIf(record_ms < received_ms - 1209600000 OR record_ms > received_ms + 7200000,
        'a log record is older than two weeks or over two hours ahead') AS event_ms,
    concat(
        '{"resource":', resource_json,
        ',"scope":', scope_json,
        if(record.time_unix_nano = 0, '', concat(',"timeUnixNano":', toString(record.time_unix_nano))),
        if(record.observed_time_unix_nano = 0, '',
            concat(',"observedTimeUnixNano":', toString(record.observed_time_unix_nano))),
        ',"severityNumber":', toString(record.severity_number),
        ',"severityText":', toJSONString(record.severity_text),
        if(record.body = '', '', concat(',"body":', value_json(record.body, record.nested_json['']))),
        ',"attributes":', attributes_json(record.attributes, record.nested_json),
        if(record.dropped_attributes_count = 0, '',
            concat(',"droppedAttributesCount":', toString(record.dropped_attributes_count))),
        ',"flags":', toString(record.flags),
        if(record.event_name = '', '', concat(',"eventName":', toJSONString(record.event_name))),
        if(record.trace_id = '', '', concat(',"traceId":"', lower(hex(record.trace_id)), '"')),
        if(record.span_id = '', '', concat(',"spanId":"', lower(hex(record.span_id)), '"')),
        '}') AS message,
    source_id,
    record
FROM (
    SELECT
        *,
        record_entry.1 AS record,
        multiIf(record.time_unix_nano > 0, intDiv(record.time_unix_nano, 1000000),
            record.observed_time_unix_nano > 0, intDiv(record.observed_time_unix_nano, 1000000),
            received_ms) AS record_ms
    FROM (
        SELECT
            * EXCEPT (resource),
            scope_entry.1.scope AS scope,
            sipHash64(resource.attributes, resource.dropped_attributes_count, resource.entity_refs,
                resource_schema_url, scope.name, scope.version, scope.attributes, scope.dropped_attributes_count,
                scope_entry.1.schema_url) AS source_id,
            concat('{"attributes":', attributes_json(resource.attributes, resource.nested_json),
                if(resource_schema_url = '', '', concat(',"schemaUrl":', toJSONString(resource_schema_url))), '}') AS resource_json,
            concat('{"name":', toJSONString(scope.name),
                if(scope.version = '', '', concat(',"version":', toJSONString(scope.version))),
                if(empty(scope.attributes), '', concat(',"attributes":', attributes_json(scope.attributes, scope.nested_json))),
                if(scope_entry.1.schema_url = '', '', concat(',"schemaUrl":', toJSONString(scope_entry.1.schema_url))),
                '}') AS scope_json,
            arrayJoin(arrayZip(scope_entry.1.log_records, arrayEnumerate(scope_entry.1.log_records))) AS record_entry
        FROM (
            SELECT
                account, region, received_ms, first_event_id,
                resource_entry.2 AS log_group,
                resource_entry.3 AS log_stream,
                resource_entry.1.resource AS resource,
                resource_entry.1.schema_url AS resource_schema_url,
                arrayMap(scope -> length(scope.log_records), resource_entry.1.scope_logs) AS counts,
                arrayJoin(arrayZip(
                    resource_entry.1.scope_logs,
                    arrayMap((sum, own) -> resource_entry.4 + sum - own, arrayCumSum(counts), counts))) AS scope_entry
            FROM (
                SELECT
                    request.account AS account,
                    request.region AS region,
                    request.received_ms AS received_ms,
                    bitShiftLeft(toUInt128(request.first_event_id_high), 64) + request.first_event_id_low AS first_event_id,
                    arrayMap(entry -> arraySum(arrayMap(scope -> length(scope.log_records), entry.scope_logs)),
                        request.data.resource_logs) AS totals,
                    arrayJoin(arrayZip(
                        request.data.resource_logs, request.log_groups, request.log_streams,
                        arrayMap((sum, own) -> sum - own, arrayCumSum(totals), totals))) AS resource_entry
                FROM (SELECT arrayJoin(requests) AS request FROM otlp_logs)
            )
        )
    )
);

CREATE MATERIALIZED VIEW IF NOT EXISTS otlp_log_records_to_log_records TO log_records AS
SELECT
    event_id,
    account,
    region,
    log_group,
    log_stream,
    received_ms,
    record.time_unix_nano AS time_unix_nano,
    record.observed_time_unix_nano AS observed_time_unix_nano,
    record.severity_number AS severity_number,
    record.severity_text AS severity_text,
    record.body AS body,
    record.attributes AS attributes,
    record.dropped_attributes_count AS dropped_attributes_count,
    record.flags AS flags,
    record.trace_id AS trace_id,
    record.span_id AS span_id,
    record.event_name AS event_name,
    source_id
FROM otlp_log_records;

-- A row for each event, since each has its own id here; PutLogEvents makes one for each request.
CREATE MATERIALIZED VIEW IF NOT EXISTS otlp_log_records_to_emf_log_input TO emf_log_input AS
SELECT
    account,
    region,
    log_group AS logGroupName,
    log_stream AS logStreamName,
    received_ms AS ingestion_ms,
    event_id AS first_event_id,
    [(event_ms, message)] AS logEvents
FROM otlp_log_records;
