-- The rollups of the samples in [from_ms, to_ms): whole periods of both resolutions, once their day is closed.
--
-- Up to 100 different values of a period stay as they are. More fall into logarithmic buckets: one value stands
-- for all within 0.5 % of it, however skewed they are, and a percentile moves by no more. Count, sum, minimum and
-- maximum stay exact beside them. A StatisticSet takes the values from its period, which then has no percentiles.
-- Source: DDSketch (Masson, Rim, Lee; VLDB 2019), with a relative accuracy of 0.5 %: gamma = 1.005 / 0.995.
INSERT INTO metric_rollups
    (resolution_s, metric_id, timestamp_ms, unit, values, counts, sample_count, sum, minimum, maximum)
SELECT
    resolution_s,
    metric_id,
    period_ms,
    unit,
    if(length(exact.1) <= 100, exact.1, bucketed.1) AS kept_values,
    if(length(exact.1) <= 100, exact.2, bucketed.2) AS kept_counts,
    sample_count,
    sum,
    minimum,
    maximum
FROM (
    SELECT
        resolution_s,
        metric_id,
        period_ms,
        unit,
        if(sets > 0, ([], []), (weighted.1, weighted.2)) AS exact,
        arrayReduce(
            'sumMap',
            [arrayMap(
                value -> if(
                    value = 0,
                    0,
                    sign(value) * 0.995 * pow(1.005 / 0.995, ceil(log(abs(value)) / log(1.005 / 0.995)))),
                exact.1)],
            [exact.2]) AS bucketed,
        sample_count,
        sum,
        minimum,
        maximum
    FROM (
        SELECT
            resolution_s,
            metric_id,
            intDiv(timestamp_ms, toInt64(resolution_s) * 1000) * resolution_s * 1000 AS period_ms,
            unit,
            countIf(empty(values)) AS sets,
            sumMap(values, counts) AS weighted,
            sum(if(empty(values), samples.sample_count, arraySum(counts))) AS sample_count,
            sum(if(empty(values), samples.sum, arrayDotProduct(values, counts))) AS sum,
            min(if(empty(values), samples.minimum, arrayMin(values))) AS minimum,
            max(if(empty(values), samples.maximum, arrayMax(values))) AS maximum
        FROM (
            SELECT metric_id, timestamp_ms, unit, values, counts, sample_count, sum, minimum, maximum
            FROM metric_samples FINAL
            WHERE timestamp_ms >= {from_ms:Int64} AND timestamp_ms < {to_ms:Int64}
            UNION ALL
            -- As metric_statistics.sql reads totals.
            SELECT metric_id, timestamp_ms, unit, [assumeNotNull(added)] AS values, [1.] AS counts, 0. AS sample_count, 0. AS sum, 0. AS minimum, 0. AS maximum
            FROM (
                SELECT
                    metric_id,
                    intDiv(time_ns, 60000000000) * 60000 AS timestamp_ms,
                    unit,
                    lagInFrame(time_ns) OVER series AS time_before_ns,
                    lagInFrame(total) OVER series AS total_before,
                    multiIf(
                        time_before_ns > 0 AND time_before_ns + 10800000000000 >= time_ns,
                        if(total >= total_before, total - total_before, total),
                        start_ns < time_ns AND start_ns + 10800000000000 >= time_ns, total,
                        NULL) AS added
                FROM metric_totals FINAL
                WHERE time_ns >= ({from_ms:Int64} - 10800000) * 1000000 AND time_ns < {to_ms:Int64} * 1000000
                WINDOW series AS (PARTITION BY metric_id, series_id, start_ns ORDER BY time_ns ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
            )
            WHERE added IS NOT NULL AND timestamp_ms >= {from_ms:Int64} AND timestamp_ms < {to_ms:Int64}
        ) AS samples
        ARRAY JOIN [300, 3600] AS resolution_s
        GROUP BY resolution_s, metric_id, period_ms, unit
    )
)
