-- CloudWatch Logs. One row of `log_input` is one PutLogEvents request, by the names that its body has, so
-- that an ordinary body is a row as it is; a view makes its events, another its stream. What may embed
-- metrics (EMF) is written into `emf_log_input`, whose views pass it on and make the metrics: to plan that
-- one takes 20 ms of each INSERT, whatever it finds, and most log events are no EMF.

CREATE TABLE IF NOT EXISTS log_input (
    account String,
    region String,
    ingestion_ms Int64,
    first_event_id UInt128,
    logGroupName String,
    logStreamName String,
    logEvents Array(Tuple(timestamp Int64, message String))
) ENGINE = Null;

CREATE TABLE IF NOT EXISTS emf_log_input AS log_input ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS emf_log_input_to_log_input TO log_input AS
SELECT * FROM emf_log_input;

-- Read with FINAL: the newest version of a group counts, and none whose newest is deleted.
CREATE TABLE IF NOT EXISTS log_groups (
    account LowCardinality(String),
    region LowCardinality(String),
    log_group String,
    creation_ms Int64,
    log_group_class LowCardinality(String),
    retention_days UInt16,  -- 0: events are kept for ever
    is_deletion_protected Bool,
    kms_key_id String,
    tags Map(String, String),
    version UInt64,
    is_deleted UInt8
) ENGINE = ReplacingMergeTree(version, is_deleted) ORDER BY (account, region, log_group);

-- What users define beside groups and streams: metric filters, subscription filters, destinations,
-- policies, saved queries; and how far each subscription has been delivered. A definition is the
-- JSON document that Describe answers; those of a group are dropped with it. Read with FINAL.
CREATE TABLE IF NOT EXISTS log_definitions (
    account LowCardinality(String),
    region LowCardinality(String),
    kind LowCardinality(String),
    log_group String,
    name String,
    document String,
    version UInt64,
    is_deleted UInt8
) ENGINE = ReplacingMergeTree(version, is_deleted) ORDER BY (account, region, kind, log_group, name);

CREATE TABLE IF NOT EXISTS log_streams (
    account LowCardinality(String),
    region LowCardinality(String),
    log_group String,
    log_stream String,
    creation_ms SimpleAggregateFunction(min, Int64),
    first_event_ms SimpleAggregateFunction(min, Nullable(Int64)),
    last_event_ms SimpleAggregateFunction(max, Nullable(Int64)),
    last_ingestion_ms SimpleAggregateFunction(max, Nullable(Int64))
) ENGINE = AggregatingMergeTree ORDER BY (account, region, log_group, log_stream)
SETTINGS min_parts_to_merge_at_once = 10, merge_selector_base = 10, old_parts_lifetime = 480;

-- A group is read in order of time across its streams (FilterLogEvents), so the stream is not in front.
-- The event id is given once, when the request arrives: an event that is written again settles to one
-- copy (read with FINAL). Timestamps are admitted from two weeks back to two hours ahead, which bounds the
-- partitions of one INSERT.
CREATE TABLE IF NOT EXISTS log_events (
    account LowCardinality(String),
    region LowCardinality(String),
    log_group LowCardinality(String),
    timestamp_ms Int64,
    event_id UInt128,
    log_stream LowCardinality(String),
    ingestion_ms Int64,
    message String CODEC(ZSTD(1)),
    -- Ids rise with the time of arrival: who follows what arrives finds it without reading the group.
    INDEX arrival event_id TYPE minmax
) ENGINE = ReplacingMergeTree
PARTITION BY toDate(fromUnixTimestamp64Milli(timestamp_ms, 'UTC'))
ORDER BY (account, region, log_group, timestamp_ms, event_id)
SETTINGS merge_selector_base = 10, old_parts_lifetime = 480;

CREATE MATERIALIZED VIEW IF NOT EXISTS log_input_to_events TO log_events AS
SELECT
    account,
    region,
    logGroupName AS log_group,
    event.timestamp AS timestamp_ms,
    first_event_id + place - 1 AS event_id,
    logStreamName AS log_stream,
    ingestion_ms,
    event.message AS message
FROM log_input
ARRAY JOIN logEvents AS event, arrayEnumerate(logEvents) AS place;

CREATE MATERIALIZED VIEW IF NOT EXISTS log_input_to_streams TO log_streams AS
SELECT
    account,
    region,
    logGroupName AS log_group,
    logStreamName AS log_stream,
    min(ingestion_ms) AS creation_ms,
    min(arrayMin(logEvents.timestamp)) AS first_event_ms,
    max(arrayMax(logEvents.timestamp)) AS last_event_ms,
    max(ingestion_ms) AS last_ingestion_ms
FROM log_input
GROUP BY account, region, logGroupName, logStreamName;

-- Embedded metric format: {"_aws": {"Timestamp", "CloudWatchMetrics": [{"Namespace", "Dimensions", "Metrics"}]}, …},
-- or with "Version": "0" and "CloudWatchMetrics" at the root. Each dimension set times each metric gives one
-- sample; the metric's value is the root member of its name, a number or an array of at most 100 numbers; a
-- dimension's value is the root string of its name. What breaks a rule gives no metric, leaves the log event as
-- it is, and is counted once for the event: EMFParsingErrors where the JSON has another shape, else
-- EMFValidationErrors, of AWS/Logs by log group.
-- Source: CloudWatch "Embedded metric format specification"; CloudWatch Logs "Monitoring usage with metrics".
CREATE MATERIALIZED VIEW IF NOT EXISTS emf_log_input_to_metric_input TO metric_input AS
SELECT
    account,
    region,
    if(is_valid, directive.Namespace, 'AWS/Logs') AS namespace,
    multiIf(is_valid, metric.Name, is_parsed, 'EMFValidationErrors', 'EMFParsingErrors') AS metric_name,
    if(is_valid, names, ['LogGroupName']) AS dimension_names,
    if(is_valid, texts, [logGroupName]) AS dimension_values,
    if(is_valid, moment_ms, event_ms) AS timestamp_ms,
    if(is_valid, metric_unit, 'Count') AS unit,
    if(is_valid AND metric.StorageResolution = 1, 1, 60) AS storage_resolution,
    if(is_valid, numbers, [1.0]) AS values,
    arrayWithConstant(length(values), 1.0) AS counts,
    toFloat64(length(values)) AS sample_count,
    arraySum(values) AS sum,
    arrayMin(values) AS minimum,
    arrayMax(values) AS maximum,
    event_id AS sample_id,
    -- An event's errors have one ordinal, and so settle to one.
    toUInt32(if(is_valid, directive_index * 100000 + set_index * 1000 + metric_index, 0)) AS ordinal
FROM (
    SELECT
        *,
        directive,
        directive_index,
        set_index,
        metric,
        metric_index,
        arraySort(arrayDistinct(dimension_set)) AS names,
        arrayMap(name -> JSONExtractString(message, name), names) AS texts,
        if(aws.Timestamp > 0, aws.Timestamp, event_ms) AS moment_ms,
        if(metric.Unit = '', 'None', metric.Unit) AS metric_unit,
        if(JSONType(message, metric.Name) = 'Array',
           JSONExtract(message, metric.Name, 'Array(Float64)'),
           [JSONExtract(message, metric.Name, 'Float64')]) AS numbers,
        is_parsed
        AND set_index > 0
        AND length(directive.Namespace) BETWEEN 1 AND 255
        AND length(metric.Name) BETWEEN 1 AND 1024
        AND length(directive.Metrics) <= 100
        AND length(dimension_set) <= 30
        AND arrayAll(name -> JSONType(message, name) = 'String', dimension_set)
        -- ASCII with something visible, as PutMetricData demands of dimensions
        AND arrayAll(value -> length(value) <= 1024 AND match(value, '^[\\x00-\\x7f]*[\\x21-\\x7e][\\x00-\\x7f]*$'), texts)
        AND (JSONType(message, metric.Name) IN ('Int64', 'UInt64', 'Double')
             OR (JSONType(message, metric.Name) = 'Array'
                 AND length(numbers) BETWEEN 1 AND 100
                 AND arrayAll(item -> JSONType(item) IN ('Int64', 'UInt64', 'Double'), JSONExtractArrayRaw(message, metric.Name))))
        AND arrayAll(value -> abs(value) <= exp2(360), numbers)
        AND metric.StorageResolution IN (0, 1, 60)
        AND metric_unit IN (
            'Seconds', 'Microseconds', 'Milliseconds', 'Bytes', 'Kilobytes', 'Megabytes', 'Gigabytes', 'Terabytes',
            'Bits', 'Kilobits', 'Megabits', 'Gigabits', 'Terabits', 'Percent', 'Count', 'Bytes/Second',
            'Kilobytes/Second', 'Megabytes/Second', 'Gigabytes/Second', 'Terabytes/Second', 'Bits/Second',
            'Kilobits/Second', 'Megabits/Second', 'Gigabits/Second', 'Terabits/Second', 'Count/Second', 'None')
        AND moment_ms BETWEEN ingestion_ms - 1209600000 AND ingestion_ms + 7200000 AS is_valid
    FROM (
        SELECT
            *,
            JSONType(message, '_aws') = 'Object' AS has_aws,
            isValidJSON(message)
            AND if(has_aws, JSONType(message, '_aws', 'CloudWatchMetrics'), JSONType(message, 'CloudWatchMetrics')) = 'Array'
            AS is_parsed,
            if(has_aws, JSONExtract(message, '_aws', 'Tuple(
                Timestamp Int64,
                CloudWatchMetrics Array(Tuple(
                    Namespace String,
                    Dimensions Array(Array(String)),
                    Metrics Array(Tuple(Name String, Unit String, StorageResolution UInt8)))))'),
            JSONExtract(message, 'Tuple(
                Timestamp Int64,
                CloudWatchMetrics Array(Tuple(
                    Namespace String,
                    Dimensions Array(Array(String)),
                    Metrics Array(Tuple(Name String, Unit String, StorageResolution UInt8)))))')) AS aws
        FROM (
            SELECT
                account,
                region,
                logGroupName,
                ingestion_ms,
                event.timestamp AS event_ms,
                event.message AS message,
                first_event_id + place - 1 AS event_id
            FROM emf_log_input
            ARRAY JOIN logEvents AS event, arrayEnumerate(logEvents) AS place
        )
        -- Substrings first: most log lines are text, and parsing JSON is what costs here.
        WHERE position(message, '"CloudWatchMetrics"') > 0
          AND match(message, '^\\s*\\{')
          AND (position(message, '"_aws"') > 0 OR JSONExtractString(message, 'Version') = '0')
    )
    LEFT ARRAY JOIN aws.CloudWatchMetrics AS directive, arrayEnumerate(aws.CloudWatchMetrics) AS directive_index
    LEFT ARRAY JOIN directive.Dimensions AS dimension_set, arrayEnumerate(directive.Dimensions) AS set_index
    LEFT ARRAY JOIN directive.Metrics AS metric, arrayEnumerate(directive.Metrics) AS metric_index
);
