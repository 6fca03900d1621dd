-- OTLP metrics. As with traces, the engine decodes the bodies: a row of `otlp_metrics` is a group of requests,
-- each in an envelope that says whose it is and which CloudWatch namespaces its samples are in. A data point
-- is kept whole in `metric_points`, and is a sample of CloudWatch's as well.

CREATE TABLE IF NOT EXISTS otlp_metrics (
    requests Array(Tuple(
        data Tuple(resource_metrics Array(Tuple(
            resource Tuple(
                attributes Map(String, String),
                dropped_attributes_count UInt32,
                entity_refs Array(String)),
            scope_metrics Array(Tuple(
                scope Tuple(
                    name String,
                    version String,
                    attributes Map(String, String),
                    dropped_attributes_count UInt32),
                metrics Array(Tuple(
                    name String,
                    description String,
                    unit String,
                    metadata Map(String, String),
                    gauge Tuple(data_points Array(Tuple(
                        attributes Map(String, String),
                        start_time_unix_nano UInt64,
                        time_unix_nano UInt64,
                        as_double Nullable(Float64),
                        as_int Nullable(Int64),
                        exemplars Array(String),
                        flags UInt32))),
                    sum Tuple(
                        data_points Array(Tuple(
                            attributes Map(String, String),
                            start_time_unix_nano UInt64,
                            time_unix_nano UInt64,
                            as_double Nullable(Float64),
                            as_int Nullable(Int64),
                            exemplars Array(String),
                            flags UInt32)),
                        aggregation_temporality Int32,
                        is_monotonic UInt8),
                    histogram Tuple(
                        data_points Array(Tuple(
                            attributes Map(String, String),
                            start_time_unix_nano UInt64,
                            time_unix_nano UInt64,
                            count UInt64,
                            sum Nullable(Float64),
                            bucket_counts Array(UInt64),
                            explicit_bounds Array(Float64),
                            exemplars Array(String),
                            flags UInt32,
                            min Nullable(Float64),
                            max Nullable(Float64))),
                        aggregation_temporality Int32),
                    exponential_histogram Tuple(
                        data_points Array(Tuple(
                            attributes Map(String, String),
                            start_time_unix_nano UInt64,
                            time_unix_nano UInt64,
                            count UInt64,
                            sum Nullable(Float64),
                            scale Int32,
                            zero_count UInt64,
                            positive Tuple(offset Int32, bucket_counts Array(UInt64)),
                            negative Tuple(offset Int32, bucket_counts Array(UInt64)),
                            flags UInt32,
                            exemplars Array(String),
                            min Nullable(Float64),
                            max Nullable(Float64),
                            zero_threshold Float64)),
                        aggregation_temporality Int32),
                    summary Tuple(data_points Array(Tuple(
                        attributes Map(String, String),
                        start_time_unix_nano UInt64,
                        time_unix_nano UInt64,
                        count UInt64,
                        sum Float64,
                        quantile_values Array(Tuple(quantile Float64, value Float64)),
                        flags UInt32))))),
                schema_url String)),
            schema_url String))),
        namespaces Array(String),
        account String,
        region String,
        received_ms Int64))
) ENGINE = Null;

-- One table for the five kinds of point: what a kind does not have is empty and takes no room. A point is its
-- series (resource, scope, metric and attributes) and its times: one that is sent again settles to one copy
-- (read with FINAL).
CREATE TABLE IF NOT EXISTS metric_points (
    account LowCardinality(String),
    region LowCardinality(String),
    namespace LowCardinality(String),  -- of its sample
    received_ms Int64,
    source_id UInt64,
    series_id UInt64,
    name LowCardinality(String),
    description LowCardinality(String),
    unit LowCardinality(String),
    metadata Map(String, String),
    data Enum8('gauge' = 5, 'sum' = 7, 'histogram' = 9, 'exponential_histogram' = 10, 'summary' = 11),
    aggregation_temporality Int32,
    is_monotonic UInt8,
    attributes Map(String, String),
    start_time_unix_nano UInt64,
    time_unix_nano UInt64,
    flags UInt32,
    exemplars Array(String),
    as_double Nullable(Float64),
    as_int Nullable(Int64),
    count UInt64,
    sum Nullable(Float64),
    min Nullable(Float64),
    max Nullable(Float64),
    bucket_counts Array(UInt64),
    explicit_bounds Array(Float64),
    scale Int32,
    zero_count UInt64,
    zero_threshold Float64,
    positive Tuple(offset Int32, bucket_counts Array(UInt64)),
    negative Tuple(offset Int32, bucket_counts Array(UInt64)),
    quantile_values Array(Tuple(quantile Float64, value Float64))
) ENGINE = ReplacingMergeTree
PARTITION BY toDate(fromUnixTimestamp64Milli(received_ms, 'UTC'))
ORDER BY (name, series_id, time_unix_nano, start_time_unix_nano)
SETTINGS old_parts_lifetime = 480;

CREATE MATERIALIZED VIEW IF NOT EXISTS otlp_metrics_to_sources TO otlp_sources AS
SELECT
    sipHash64(resource, resource_schema_url, scope, scope_schema_url) AS source_id,
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
            arrayJoin(arrayZip(resource_entry.scope_metrics.scope, resource_entry.scope_metrics.schema_url)) AS entry
        FROM (SELECT arrayJoin(arrayJoin(requests.data.resource_metrics)) AS resource_entry FROM otlp_metrics)
    )
);

CREATE MATERIALIZED VIEW IF NOT EXISTS otlp_metrics_to_metric_points TO metric_points AS
WITH
    -- A kind's points, as the kinds have them in common.
    points -> points::Array(Tuple(
        Int8, Int32, UInt8, Map(String, String), UInt64, UInt64, UInt32, Array(String),
        Nullable(Float64), Nullable(Int64), UInt64, Nullable(Float64), Nullable(Float64), Nullable(Float64),
        Array(UInt64), Array(Float64), Int32, UInt64, Float64,
        Tuple(offset Int32, bucket_counts Array(UInt64)), Tuple(offset Int32, bucket_counts Array(UInt64)),
        Array(Tuple(quantile Float64, value Float64)))) AS as_points
SELECT
    account,
    region,
    namespace,
    -- CloudWatch takes samples from two weeks back to two hours ahead. Checked here, where it costs nothing per
    -- point in Python; the receiver answers for a body that fails.
    received_ms + throwIf(
        time_unix_nano < (received_ms - 1209600000) * 1000000 OR time_unix_nano > (received_ms + 7200000) * 1000000,
        'a data point is older than two weeks or over two hours ahead') AS received_ms,
    source_id,
    sipHash64(source_id, metric.name, metric.unit, data, aggregation_temporality, is_monotonic,
        arraySort(arrayZip(mapKeys(attributes), mapValues(attributes)))) AS series_id,
    metric.name AS name,
    metric.description AS description,
    metric.unit AS unit,
    metric.metadata AS metadata,
    CAST(point.1, 'Enum8(\'gauge\' = 5, \'sum\' = 7, \'histogram\' = 9, \'exponential_histogram\' = 10, \'summary\' = 11)') AS data,
    point.2 AS aggregation_temporality,
    point.3 AS is_monotonic,
    point.4 AS attributes,
    point.5 AS start_time_unix_nano,
    point.6 AS time_unix_nano,
    point.7 AS flags,
    point.8 AS exemplars,
    point.9 AS as_double,
    point.10 AS as_int,
    point.11 AS count,
    point.12 AS sum,
    point.13 AS min,
    point.14 AS max,
    point.15 AS bucket_counts,
    point.16 AS explicit_bounds,
    point.17 AS scale,
    point.18 AS zero_count,
    point.19 AS zero_threshold,
    point.20 AS positive,
    point.21 AS negative,
    point.22 AS quantile_values
FROM (
    SELECT
        account, region, namespace, received_ms, source_id, metric,
        arrayJoin(arrayConcat(
            as_points(arrayMap(point -> (5, 0, 0, point.attributes, point.start_time_unix_nano, point.time_unix_nano,
                point.flags, point.exemplars, point.as_double, point.as_int, 0, NULL, NULL, NULL, [], [], 0, 0, 0,
                (0, []), (0, []), []), metric.gauge.data_points)),
            as_points(arrayMap(point -> (7, metric.sum.aggregation_temporality, metric.sum.is_monotonic,
                point.attributes, point.start_time_unix_nano, point.time_unix_nano, point.flags, point.exemplars,
                point.as_double, point.as_int, 0, NULL, NULL, NULL, [], [], 0, 0, 0,
                (0, []), (0, []), []), metric.sum.data_points)),
            as_points(arrayMap(point -> (9, metric.histogram.aggregation_temporality, 0,
                point.attributes, point.start_time_unix_nano, point.time_unix_nano, point.flags, point.exemplars,
                NULL, NULL, point.count, point.sum, point.min, point.max, point.bucket_counts, point.explicit_bounds,
                0, 0, 0, (0, []), (0, []), []), metric.histogram.data_points)),
            as_points(arrayMap(point -> (10, metric.exponential_histogram.aggregation_temporality, 0,
                point.attributes, point.start_time_unix_nano, point.time_unix_nano, point.flags, point.exemplars,
                NULL, NULL, point.count, point.sum, point.min, point.max, [], [],
                point.scale, point.zero_count, point.zero_threshold, point.positive, point.negative, []),
                metric.exponential_histogram.data_points)),
            as_points(arrayMap(point -> (11, 0, 0,
                point.attributes, point.start_time_unix_nano, point.time_unix_nano, point.flags, [],
                NULL, NULL, point.count, point.sum, NULL, NULL, [], [], 0, 0, 0, (0, []), (0, []),
                point.quantile_values), metric.summary.data_points))
        )) AS point
    FROM (
        SELECT
            account, region, namespace, received_ms,
            sipHash64(resource, resource_schema_url, scope_entry.scope, scope_entry.schema_url) AS source_id,
            arrayJoin(scope_entry.metrics) AS metric
        FROM (
            SELECT
                account, region, received_ms,
                resource_entry.2 AS namespace,
                resource_entry.1.resource AS resource,
                resource_entry.1.schema_url AS resource_schema_url,
                arrayJoin(resource_entry.1.scope_metrics) AS scope_entry
            FROM (
                SELECT
                    request.account AS account,
                    request.region AS region,
                    request.received_ms AS received_ms,
                    arrayJoin(arrayZip(request.data.resource_metrics, request.namespaces)) AS resource_entry
                FROM (SELECT arrayJoin(requests) AS request FROM otlp_metrics)
            )
        )
    )
);

-- A point as a sample. Its dimensions are its attributes, as text; one that CloudWatch takes for no dimension
-- (blank, not ASCII, over 1024 characters, an array or a map, past the 30th) is left out.
--
-- A gauge and a sum are one value. A monotonic sum of cumulative temporality is a total, of which a sample is
-- what was added since the point before (metric_totals). One that goes up and down, as the number of connections
-- does, is taken as it stands at its time, like a gauge; so is a histogram of cumulative temporality.
--
-- A histogram becomes a value for each bucket with the bucket's count: the minimum and the maximum, once each,
-- and then the middle of the bucket, moved towards one of its ends just so far that all add up to the point's sum.
-- SampleCount, Sum, Average, Minimum and Maximum are exact then, percentiles to within a bucket. A bucket
-- without an end takes the point's minimum or maximum for it, else its other end.
-- A summary is a StatisticSet between its lowest and highest quantile.
CREATE TABLE IF NOT EXISTS metric_point_samples (
    account String,
    region String,
    namespace String,
    metric_name String,
    dimension_names Array(String),
    dimension_values Array(String),
    timestamp_ms Int64,
    unit String,
    values Array(Float64),
    counts Array(Float64),
    sample_count Float64,
    sum Float64,
    minimum Float64,
    maximum Float64,
    sample_id UInt128,
    is_total UInt8,
    series_id UInt64,
    start_ns UInt64,
    time_ns UInt64
) ENGINE = Null;

CREATE MATERIALIZED VIEW IF NOT EXISTS metric_point_samples_to_metric_input TO metric_input AS
SELECT
    account,
    region,
    namespace,
    metric_name,
    dimension_names,
    dimension_values,
    timestamp_ms,
    unit,
    60 AS storage_resolution,
    values,
    counts,
    sample_count,
    sum,
    minimum,
    maximum,
    sample_id,
    0 AS ordinal
FROM metric_point_samples
WHERE NOT is_total;

-- What metric_input's views are for samples, for totals.
CREATE MATERIALIZED VIEW IF NOT EXISTS metric_point_samples_to_metrics TO metrics AS
SELECT
    account,
    region,
    namespace,
    metric_name,
    metric_id,
    anyLast(names) AS dimension_names,
    anyLast(dimensions) AS dimension_values,
    max(timestamp_ms) AS last_timestamp_ms
FROM (
    SELECT
        account,
        region,
        namespace,
        metric_name,
        dimension_names AS names,
        dimension_values AS dimensions,
        sipHash64(account, region, namespace, metric_name, dimension_names, dimension_values) AS metric_id,
        timestamp_ms
    FROM metric_point_samples
    WHERE is_total
)
GROUP BY account, region, namespace, metric_name, metric_id;

CREATE MATERIALIZED VIEW IF NOT EXISTS metric_point_samples_to_metric_totals TO metric_totals AS
SELECT
    sipHash64(account, region, namespace, metric_name, dimension_names, dimension_values) AS metric_id,
    series_id,
    start_ns,
    time_ns,
    unit,
    values[1] AS total
FROM metric_point_samples
WHERE is_total;

CREATE MATERIALIZED VIEW IF NOT EXISTS metric_points_to_samples TO metric_point_samples AS
WITH
    encoded -> substring(encoded,
        multiIf(length(encoded) < 130, 3, length(encoded) < 16387, 4, length(encoded) < 2097156, 5, 6)) AS payload,
    encoded -> reinterpretAsInt64(arraySum(
        place -> bitShiftLeft(toUInt64(bitAnd(reinterpretAsUInt8(substring(encoded, place + 2, 1)), 127)), 7 * place),
        range(length(encoded) - 1))) AS varint,
    encoded -> multiIf(
        startsWith(encoded, '\x0a'), payload(encoded),
        startsWith(encoded, '\x10'), if(encoded = '\x10\x01', 'true', 'false'),
        startsWith(encoded, '\x18'), toString(varint(encoded)),
        startsWith(encoded, '\x21'), toString(reinterpretAsFloat64(substring(encoded, 2))),
        startsWith(encoded, '\x3a'), base64Encode(payload(encoded)),
        '') AS value_text,
    (lower, upper, part) -> lower + (upper - lower) * part AS between
SELECT
    account,
    region,
    namespace,
    name AS metric_name,
    dimension_names,
    dimension_values,
    intDiv(time_unix_nano, 1000000) AS timestamp_ms,
    unit_name AS unit,
    arrayMap(value -> assumeNotNull(value), nullable_sample.1) AS values,
    nullable_sample.2 AS counts,
    if(empty(values), count, 0) AS sample_count,
    if(empty(values), ifNull(point_sum, 0), 0) AS sum,
    if(empty(values), lowest, 0) AS minimum,
    if(empty(values), highest, 0) AS maximum,
    reinterpretAsUInt128(sipHash128(series_id, time_unix_nano, start_time_unix_nano)) AS sample_id,
    data = 'sum' AND is_monotonic AND aggregation_temporality = 2 AS is_total,
    series_id,
    start_time_unix_nano AS start_ns,
    time_unix_nano AS time_ns
FROM (
    -- Level on level: what is named and used in one SELECT is planned anew for each use, 97 ms for one.
    SELECT
        *,
        dimension_pairs.1 AS dimension_names,
        dimension_pairs.2 AS dimension_values,
        multiIf(
            data IN ('gauge', 'sum'), ([ifNull(as_double, toFloat64(as_int))], [1.]),
            count = 1 AND point_sum IS NOT NULL AND notEmpty(buckets), ([point_sum], [1.]),
            notEmpty(buckets), (
                arrayConcat(if(has_ends, [lowest, highest], []),
                    arrayMap(pair -> between(pair.1.1, pair.1.2, part), filled)),
                arrayConcat(if(has_ends, [1., 1.], []), arrayMap(pair -> pair.2, filled))),
            ([], []))::Tuple(Array(Nullable(Float64)), Array(Float64)) AS nullable_sample
    FROM (
        SELECT
            *,
            ifNull(point_sum, middle_sum + has_ends * (lowest + highest)) - has_ends * (lowest + highest) AS inner_sum,
            if(room > 0, least(greatest(0.5 + (inner_sum - middle_sum) / room, 0), 1), 0.5) AS part
        FROM (
            SELECT
                *,
                arraySum((bucket, number) -> between(bucket.1, bucket.2, 0.5) * number, buckets, inner_counts) AS middle_sum,
                arraySum((bucket, number) -> (bucket.2 - bucket.1) * number, buckets, inner_counts) AS room,
                arrayFilter(pair -> pair.2 > 0, arrayZip(buckets, inner_counts)) AS filled
            FROM (
                SELECT
                    *,
                    arrayMap((bucket, place) -> bucket.3 - has_ends * ((place = first_bucket) + (place = last_bucket)),
                        buckets, arrayEnumerate(buckets)) AS inner_counts
                FROM (
                    SELECT
                        *,
                        -- Minimum and maximum stand alone when both are known and there are two measurements for them.
                        lowest_known AND highest_known AND count >= 2 AS has_ends,
                        arrayMap(bucket -> bucket.3 > 0, buckets) AS are_filled,
                        indexOf(are_filled, 1) AS first_bucket,
                        length(buckets) + 1 - indexOf(arrayReverse(are_filled), 1) AS last_bucket
                    FROM (
                        SELECT
                            *,
                            -- (from, to, count) of each bucket
                            arrayMap(bucket -> (
                                    if(min IS NULL, bucket.1, greatest(bucket.1, least(lowest, bucket.2))),
                                    if(max IS NULL, bucket.2, least(bucket.2, greatest(highest, bucket.1))),
                                    bucket.3),
                                if(data = 'histogram',
                                    if(length(bucket_counts) = length(explicit_bounds) + 1, arrayMap(
                                        (number, place) -> (
                                            multiIf(place > 1, explicit_bounds[place - 1], min IS NOT NULL, lowest,
                                                least(0, explicit_bounds[1])),
                                            multiIf(place <= length(explicit_bounds), explicit_bounds[place],
                                                max IS NOT NULL, highest, explicit_bounds[-1]),
                                            toFloat64(number)),
                                        bucket_counts, arrayEnumerate(bucket_counts)), []),
                                    arrayConcat(
                                        arrayMap((number, place) -> (
                                                -pow(base, negative.offset + place), -pow(base, negative.offset + place - 1),
                                                toFloat64(number)),
                                            negative.bucket_counts, arrayEnumerate(negative.bucket_counts)),
                                        if(zero_count > 0, [(-zero_threshold, zero_threshold, toFloat64(zero_count))], []),
                                        arrayMap((number, place) -> (
                                                pow(base, positive.offset + place - 1), pow(base, positive.offset + place),
                                                toFloat64(number)),
                                            positive.bucket_counts, arrayEnumerate(positive.bucket_counts))))
                                    ::Array(Tuple(Float64, Float64, Float64))) AS buckets
                        FROM (
                            SELECT
                                *,
                                points.sum AS point_sum,
                                min IS NOT NULL OR notEmpty(quantile_values) AS lowest_known,
                                max IS NOT NULL OR notEmpty(quantile_values) AS highest_known,
                                toFloat64(ifNull(min, if(notEmpty(quantile_values), arrayMin(quantile_values.value),
                                    if(count > 0, ifNull(points.sum, 0) / count, 0)))) AS lowest,
                                toFloat64(ifNull(max, if(notEmpty(quantile_values), arrayMax(quantile_values.value),
                                    if(count > 0, ifNull(points.sum, 0) / count, 0)))) AS highest,
                                exp2(exp2(-scale)) AS base,
                                arraySlice(arraySort(arrayFilter(
                                    pair -> length(pair.1) BETWEEN 1 AND 255 AND length(pair.2) BETWEEN 1 AND 1024
                                        AND match(pair.1, '^[\\x20-\\x7e]*[\\x21-\\x7e][\\x20-\\x7e]*$') AND NOT startsWith(pair.1, ':')
                                        AND match(pair.2, '^[\\x00-\\x7f]*[\\x21-\\x7e][\\x00-\\x7f]*$'),
                                    arrayMap((key, encoded) -> (key, value_text(encoded)), mapKeys(attributes), mapValues(attributes)))),
                                    1, 30) AS dimension_pairs,
                                -- UCUM, as OpenTelemetry names units, and CloudWatch's own names
                                transform(unit,
                                    ['s', 'ms', 'us', 'By', 'kBy', 'MBy', 'GBy', 'TBy', 'bit', 'Bi', 'kbit', 'Mbit', 'Gbit', 'Tbit', '%',
                                        'By/s', 'kBy/s', 'MBy/s', 'GBy/s', 'TBy/s', 'bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s', 'Tbit/s', '1/s'],
                                    ['Seconds', 'Milliseconds', 'Microseconds', 'Bytes', 'Kilobytes', 'Megabytes', 'Gigabytes', 'Terabytes',
                                        'Bits', 'Bits', 'Kilobits', 'Megabits', 'Gigabits', 'Terabits', 'Percent', 'Bytes/Second',
                                        'Kilobytes/Second', 'Megabytes/Second', 'Gigabytes/Second', 'Terabytes/Second', 'Bits/Second',
                                        'Kilobits/Second', 'Megabits/Second', 'Gigabits/Second', 'Terabits/Second', 'Count/Second'],
                                    multiIf(
                                        unit IN ('Seconds', 'Milliseconds', 'Microseconds', 'Bytes', 'Kilobytes', 'Megabytes', 'Gigabytes',
                                            'Terabytes', 'Bits', 'Kilobits', 'Megabits', 'Gigabits', 'Terabits', 'Percent', 'Count',
                                            'Bytes/Second', 'Kilobytes/Second', 'Megabytes/Second', 'Gigabytes/Second', 'Terabytes/Second',
                                            'Bits/Second', 'Kilobits/Second', 'Megabits/Second', 'Gigabits/Second', 'Terabits/Second',
                                            'Count/Second'), toString(unit),
                                        match(unit, '^\\{.*\\}$'), 'Count', 'None')) AS unit_name
                            FROM metric_points AS points
                        )
                    )
                )
            )
        )
    )
)
WHERE bitAnd(flags, 1) = 0  -- no recorded value
  AND length(name) BETWEEN 1 AND 255 AND match(name, '^[\\x20-\\x7e]*[\\x21-\\x7e][\\x20-\\x7e]*$')
  AND if(data IN ('gauge', 'sum'), as_double IS NOT NULL OR as_int IS NOT NULL, count > 0)
  AND arrayAll(value -> isFinite(value) AND abs(value) <= exp2(360), arrayConcat(values, [sum, minimum, maximum]));
