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

-- PutMetricData. A row is one request, whose body the engine reads as it came: {"Namespace", "MetricData": […]}
-- in AWS's names; that costs 4 µs a datum with all that follows, where decoding it in Python took 12 before any of
-- that. `opening` and `closing` are one random word, which says that the body between them is one JSON value.
CREATE TABLE IF NOT EXISTS put_metric_data (
    opening String,
    account String,
    region String,
    now_ms Int64,
    sample_id UInt128,
    body Tuple(
        Namespace String,
        MetricData Array(Tuple(
            MetricName String,
            Dimensions Array(Tuple(Name String, Value String)),
            Timestamp Nullable(Float64),  -- seconds since 1970
            Value Nullable(Float64),
            StatisticValues Tuple(
                SampleCount Nullable(Float64),
                Sum Nullable(Float64),
                Minimum Nullable(Float64),
                Maximum Nullable(Float64)),
            Values Array(Float64),
            Counts Array(Float64),
            Unit String,
            StorageResolution Nullable(Int64)))),
    closing String
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
SETTINGS min_parts_to_merge_at_once = 10, merge_selector_base = 10, old_parts_lifetime = 480;

-- The samples of the last 15 days, read with FINAL. Few rows to a mark: a metric has 1,440 a day, and three
-- hours of a hundred metrics take a quarter less of the processor than with 8,192. sample_id is one hash of what
-- the writer gave: eight bytes that do not compress are two thirds of a point, twenty would be five sixths.
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
SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 268435456, merge_selector_base = 10,
    old_parts_lifetime = 480;

-- Counters that tell their total since they began (OTLP's monotonic sums of cumulative temporality), for as long
-- as samples, read with FINAL. What a point added is told when it is asked for, from the point before it: points
-- come in any order, from several processes at once, and again.
-- A series that is sent anew from another start is another one here, so that restarts need no rule.
CREATE TABLE IF NOT EXISTS metric_totals (
    metric_id UInt64,
    series_id UInt64,
    start_ns UInt64 CODEC(Delta, ZSTD(1)),  -- since when it counts; 0 where the sender does not know
    time_ns UInt64 CODEC(DoubleDelta, ZSTD(1)),
    unit LowCardinality(String),
    total Float64 CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree
PARTITION BY toDate(fromUnixTimestamp64Nano(toInt64(time_ns), 'UTC'))
ORDER BY (metric_id, series_id, start_ns, time_ns)
SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 268435456, old_parts_lifetime = 480;

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

-- What breaks a rule of PutMetricData is refused as a whole, before any of it is written: `metrics/datums.py`
-- then says which datum breaks which rule. A body is judged while it is one row, since a row is never halved.
CREATE MATERIALIZED VIEW IF NOT EXISTS put_metric_data_to_metric_input TO metric_input AS
SELECT
    account,
    region,
    namespace,
    metric_name,
    arraySort(dimension.Name) AS dimension_names,
    arraySort((value, name) -> name, dimension.Value, dimension.Name) AS dimension_values,
    toInt64(ifNull(round(time * 1000), now_ms)) AS timestamp_ms,
    if(given_unit = '', 'None', given_unit) AS unit,
    toUInt8(ifNull(resolution, 60)) AS storage_resolution,
    -- A StatisticSet of one value says all. Source: "Requirements to use percentiles, trimmed mean, and some
    -- other statistics".
    multiIf(
        isNotNull(value), [assumeNotNull(value)],
        least_value = most_value AND total = least_value * number, [assumeNotNull(least_value)],
        given_values) AS values,
    multiIf(
        notEmpty(given_counts), given_counts,
        isNotNull(number) AND notEmpty(values), [assumeNotNull(number)],
        arrayWithConstant(length(values), 1.)) AS counts,
    ifNull(number, 0) AS sample_count,
    ifNull(total, 0) AS sum,
    ifNull(least_value, 0) AS minimum,
    ifNull(most_value, 0) AS maximum,
    sample_id,
    toUInt32(place - 1) AS ordinal
FROM (
    SELECT
        account,
        region,
        now_ms,
        sample_id,
        body.Namespace AS namespace,
        body.MetricData.MetricName AS metric_names,
        body.MetricData.Dimensions AS dimensions,
        body.MetricData.Timestamp AS times,
        body.MetricData.Value AS single_values,
        body.MetricData.StatisticValues.SampleCount AS numbers,
        body.MetricData.StatisticValues.Sum AS totals,
        body.MetricData.StatisticValues.Minimum AS least_values,
        body.MetricData.StatisticValues.Maximum AS most_values,
        body.MetricData.Values AS all_values,
        body.MetricData.Counts AS all_counts,
        body.MetricData.Unit AS units,
        body.MetricData.StorageResolution AS resolutions,
        opening = closing
        AND length(metric_names) BETWEEN 1 AND 1000
        AND length(namespace) BETWEEN 1 AND 255 AND isValidUTF8(namespace) AND NOT startsWith(namespace, ':')
        AND arrayAll(name -> length(name) BETWEEN 1 AND 255 AND isValidUTF8(name), metric_names)
        AND arrayAll(
            dimension -> length(dimension) <= 30
                AND length(arrayDistinct(dimension.Name)) = length(dimension)
                AND arrayAll(name -> length(name) <= 255 AND NOT startsWith(name, ':') AND match(name, '^[ -~]*[!-~][ -~]*$'), dimension.Name)
                AND arrayAll(value -> length(value) <= 1024 AND match(value, '^[ -~]*[!-~][ -~]*$'), dimension.Value),
            dimensions)
        AND arrayAll(time -> ifNull(time * 1000, now_ms) BETWEEN now_ms - 1209600000 AND now_ms + 7200000, times)
        AND arrayAll(resolution -> ifNull(resolution, 60) IN (1, 60), resolutions)
        AND hasAll(
            ['', 'Seconds', 'Microseconds', 'Milliseconds', 'Bytes', 'Kilobytes', 'Megabytes', 'Gigabytes',
             'Terabytes', 'Bits', 'Kilobits', 'Megabits', 'Gigabits', 'Terabits', 'Percent', 'Count', 'Bytes/Second',
             'Kilobytes/Second', 'Megabytes/Second', 'Gigabytes/Second', 'Terabytes/Second', 'Bits/Second',
             'Kilobits/Second', 'Megabits/Second', 'Gigabits/Second', 'Terabits/Second', 'Count/Second', 'None'],
            units)
        AND arrayAll(
            (value, values, counts, number, total, least_value, most_value) ->
                isNotNull(value) + notEmpty(values) + isNotNull(number) = 1
                AND ifNull(abs(value) <= exp2(360), 1)
                AND length(values) <= 150
                AND arrayAll(item -> abs(item) <= exp2(360), values)
                AND (empty(counts) OR length(counts) = length(values))
                AND arrayAll(count -> count > 0 AND count <= exp2(360), counts)
                AND (isNull(number)
                     OR ifNull(number > 0 AND number <= exp2(360) AND abs(total) <= exp2(360)
                               AND abs(least_value) <= exp2(360) AND abs(most_value) <= exp2(360)
                               AND least_value <= most_value, 0)),
            single_values, all_values, all_counts, numbers, totals, least_values, most_values) AS is_valid
    FROM put_metric_data
)
ARRAY JOIN
    -- In what is unnested, so that it is judged before, and where there is nothing to unnest.
    if(throwIf(NOT is_valid, 'this is not what PutMetricData takes') = 0, metric_names, []) AS metric_name,
    arrayEnumerate(metric_names) AS place,
    dimensions AS dimension,
    times AS time,
    single_values AS value,
    numbers AS number,
    totals AS total,
    least_values AS least_value,
    most_values AS most_value,
    all_values AS given_values,
    all_counts AS given_counts,
    units AS given_unit,
    resolutions AS resolution;
