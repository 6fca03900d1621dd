-- CloudWatch metrics. Everything that publishes metrics (PutMetricData, EMF in log events, metric filters,
-- OTLP metrics) writes rows of `metric_input`; its views fill the two tables that are read.
--
-- A row of `metric_input` is one sample, what was published at one moment. Its writer sees to this:
--   dimension_names      sorted and distinct, dimension_values beside them; ASCII and not blank
--   timestamp_ms         from two weeks back to two hours ahead of now: a day older than that is closed, and
--                        is rolled up once (see metric_rollups)
--   unit                 one of CloudWatch's 27, 'None' where there is none
--   storage_resolution   1 or 60: the seconds that the sample's time is rounded down to
--   values, counts       what was measured and how often, of the same length; or both empty, and then
--   sample_count … maximum  a StatisticSet, which has no percentiles. Beside values they are not kept
--   sample_id, ordinal   the sample's identity within its metric and time: a row that is written again with
--                        the same two settles to one. Give them once, when the request arrives

CREATE TABLE IF NOT EXISTS metric_input (
    account String,
    region String,
    namespace String,
    metric_name String,
    dimension_names Array(String),
    dimension_values Array(String),
    timestamp_ms Int64,
    unit String,
    storage_resolution UInt8,
    values Array(Float64),
    counts Array(Float64),
    sample_count Float64,
    sum Float64,
    minimum Float64,
    maximum Float64,
    sample_id UInt128,
    ordinal UInt32
) ENGINE = Null;

-- A metric is its namespace, name and exact set of dimensions.
CREATE TABLE IF NOT EXISTS metrics (
    account LowCardinality(String),
    region LowCardinality(String),
    namespace LowCardinality(String),
    metric_name LowCardinality(String),
    metric_id UInt64,
    dimension_names SimpleAggregateFunction(anyLast, Array(String)),
    dimension_values SimpleAggregateFunction(anyLast, Array(String)),
    last_timestamp_ms SimpleAggregateFunction(max, Int64)
) ENGINE = AggregatingMergeTree ORDER BY (account, region, namespace, metric_name, metric_id)
SETTINGS min_parts_to_merge_at_once = 10, old_parts_lifetime = 480;

-- The samples of the last 15 days, read with FINAL. sample_id is one hash of what the writer gave: eight
-- bytes that do not compress are two thirds of a point, twenty would be five sixths.
CREATE TABLE IF NOT EXISTS metric_samples (
    metric_id UInt64,
    timestamp_ms Int64 CODEC(DoubleDelta, ZSTD(1)),
    sample_id UInt64 CODEC(NONE),
    unit LowCardinality(String),
    values Array(Float64) CODEC(ZSTD(1)),
    counts Array(Float64) CODEC(ZSTD(1)),
    sample_count Float64 CODEC(ZSTD(1)),  -- of a StatisticSet, as the three that follow; else zero
    sum Float64 CODEC(ZSTD(1)),
    minimum Float64 CODEC(ZSTD(1)),
    maximum Float64 CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree
PARTITION BY toDate(fromUnixTimestamp64Milli(timestamp_ms, 'UTC'))
ORDER BY (metric_id, timestamp_ms, sample_id)
SETTINGS old_parts_lifetime = 480;

-- Days that are closed, in periods of 300 s (kept 63 days) and 3600 s (kept 455 days). A row has the shape of
-- a sample: the values of its period with their counts, so that what reads samples reads these; sample_count to
-- maximum stand beside them, exact. Both resolutions are made from the samples, once the day can no longer
-- change (commands/roll_up_metric_samples.sql); made again, they settle.
CREATE TABLE IF NOT EXISTS metric_rollups (
    resolution_s UInt16,
    metric_id UInt64,
    timestamp_ms Int64 CODEC(DoubleDelta, ZSTD(1)),
    unit LowCardinality(String),
    values Array(Float64) CODEC(ZSTD(1)),
    counts Array(Float64) CODEC(ZSTD(1)),
    sample_count Float64 CODEC(ZSTD(1)),
    sum Float64 CODEC(ZSTD(1)),
    minimum Float64 CODEC(ZSTD(1)),
    maximum Float64 CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree
PARTITION BY (resolution_s, toYYYYMM(fromUnixTimestamp64Milli(timestamp_ms, 'UTC')))
ORDER BY (resolution_s, metric_id, timestamp_ms, unit)
TTL toDateTime(intDiv(timestamp_ms, 1000), 'UTC') + INTERVAL 63 DAY DELETE WHERE resolution_s = 300,
    toDateTime(intDiv(timestamp_ms, 1000), 'UTC') + INTERVAL 455 DAY DELETE WHERE resolution_s = 3600
SETTINGS old_parts_lifetime = 480;

-- Written once a day's rollups are whole: the newest says up to where rollups are read, and from where samples.
CREATE TABLE IF NOT EXISTS metric_rolled_days (
    day Date
) ENGINE = ReplacingMergeTree ORDER BY day;

CREATE MATERIALIZED VIEW IF NOT EXISTS metric_input_to_metrics TO metrics AS
SELECT
    account,
    region,
    namespace,
    metric_name,
    metric_id,
    anyLast(names) AS dimension_names,
    anyLast(values) AS dimension_values,
    max(timestamp_ms) AS last_timestamp_ms
FROM (
    SELECT
        account,
        region,
        namespace,
        metric_name,
        dimension_names AS names,
        dimension_values AS values,
        sipHash64(account, region, namespace, metric_name, dimension_names, dimension_values) AS metric_id,
        timestamp_ms
    FROM metric_input
)
GROUP BY account, region, namespace, metric_name, metric_id;

CREATE MATERIALIZED VIEW IF NOT EXISTS metric_input_to_samples TO metric_samples AS
SELECT
    sipHash64(account, region, namespace, metric_name, dimension_names, dimension_values) AS metric_id,
    intDiv(input.timestamp_ms, storage_resolution * 1000) * storage_resolution * 1000 AS timestamp_ms,
    sipHash64(input.sample_id, ordinal) AS sample_id,
    unit,
    values,
    counts,
    if(empty(values), input.sample_count, 0) AS sample_count,
    if(empty(values), input.sum, 0) AS sum,
    if(empty(values), input.minimum, 0) AS minimum,
    if(empty(values), input.maximum, 0) AS maximum
FROM metric_input AS input;
