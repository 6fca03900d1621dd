-- CloudWatch metrics. Everything that publishes metrics (PutMetricData, EMF in log events) writes
-- `metric_input`; its views fill the two tables.
--
-- A sample is what was published at one moment: values with their counts, or a StatisticSet (no values).
-- Values are kept, since percentiles need them.

CREATE TABLE IF NOT EXISTS metric_input (
    account String,
    region String,
    namespace String,
    metric_name String,
    dimension_names Array(String),  -- sorted: the order of dimensions is not part of a metric's identity
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

-- sample_id and ordinal are given once, when the request arrives: a sample that is written again, since a
-- group of requests failed half-way, settles to one copy (read with FINAL). Timestamps are admitted from two
-- weeks back to two hours ahead, which bounds the partitions of one INSERT.
CREATE TABLE IF NOT EXISTS metric_samples (
    metric_id UInt64,
    timestamp_ms Int64 CODEC(DoubleDelta, LZ4),
    sample_id UInt128,
    ordinal UInt32,
    unit LowCardinality(String),
    storage_resolution UInt8,
    values Array(Float64),
    counts Array(Float64),
    sample_count Float64,
    sum Float64,
    minimum Float64,
    maximum Float64
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(timestamp_ms, 'UTC'))
ORDER BY (metric_id, timestamp_ms, sample_id, ordinal)
SETTINGS old_parts_lifetime = 480;

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
    timestamp_ms,
    sample_id,
    ordinal,
    unit,
    storage_resolution,
    values,
    counts,
    sample_count,
    sum,
    minimum,
    maximum
FROM metric_input;
