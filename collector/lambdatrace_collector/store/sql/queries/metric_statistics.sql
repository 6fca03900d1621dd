-- Statistics of metrics: a row per metric, unit and statistic, its points in arrays, ascending in time.
--
-- What is younger than the last day that was rolled up is read from the samples, the rest from the rollups of
-- `tier_s` seconds; 0 where the period is finer than every rollup.
--
-- A point of a counter's total is a sample of what was added since the point of the series before it, up to three
-- hours before; after that, and for its first, since its start, where that is known and no longer ago. Else what
-- was added when cannot be told, and it only says from where on to count. A total that is less than before began
-- at zero without saying so. Source: OpenTelemetry, "Metrics Data Model", "Resets and Gaps"; the AWS EMF
-- exporter of the OpenTelemetry collector, which has the same for its cumulative sums. Read only where there are
-- totals: it is planned in 16 ms, all else in 45.
--
-- Percentiles and their kin come from the values of a period, sorted (v), with their counts (w) and the running
-- sum of these (c), of n in all. `percentile` lies linear between the two values beside rank low * (n - 1), as if
-- each stood there w times. The others take what is within two bounds: parts of n, where a value across the bound
-- counts in part; or values, low < v <= high. A period with a negative value, or with a StatisticSet of several
-- values, has none of them.
-- Source: CloudWatch user guide, "CloudWatch statistics definitions".
SELECT
    metric_id,
    unit,
    statistic,
    arraySort(groupArray((period_s, value))) AS points,
    points.1 AS timestamps_s,
    points.2 AS point_values
FROM (
    SELECT
        metric_id,
        unit,
        statistic,
        period_s,
        greatest(low * (n - 1), 0) AS rank,
        arrayFirstIndex(running -> running > floor(rank), c) AS below,
        arrayFirstIndex(running -> running > floor(rank) + 1, c) AS above,
        v[if(below = 0, -1, toInt64(below))] AS below_rank,  -- past the last rank stands the last value
        v[if(above = 0, -1, toInt64(above))] AS above_rank,
        if(is_part,
           arrayMap((weight, running) -> greatest(0, least(running, high * n) - greatest(running - weight, low * n)), w, c),
           arrayMap((weight, number) -> if(number > low AND number <= high, weight, 0), w, v)) AS within,
        arraySum(within) AS within_count,
        arrayDotProduct(v, within) AS within_sum,
        multiIf(
            kind = 'SampleCount', sample_count,
            kind = 'Sum', sum,
            kind = 'Average', sum / sample_count,
            kind = 'Minimum', minimum,
            kind = 'Maximum', maximum,
            NOT is_told, nan,
            kind = 'percentile', below_rank + (above_rank - below_rank) * (rank - floor(rank)),
            kind = 'trimmed_mean', within_sum / within_count,
            kind = 'trimmed_count', within_count,
            kind = 'trimmed_sum', within_sum,
            kind = 'rank', 100 * within_count / n,
            kind = 'winsorized_mean' AND is_part,
                (within_sum
                 + low * n * v[arrayFirstIndex(weight -> weight > 0, within)]
                 + (1 - high) * n * v[arrayLastIndex(weight -> weight > 0, within)]) / n,
            kind = 'winsorized_mean', arraySum((number, weight) -> least(greatest(number, low), high) * weight, v, w) / n,
            nan) AS value
    FROM (
        SELECT
            metric_id,
            unit,
            period_s,
            sample_count,
            sum,
            minimum,
            maximum,
            is_told,
            arraySort(arrayZip(all_values, all_counts)) AS weighted,
            weighted.1 AS v,
            weighted.2 AS w,
            arrayCumSum(w) AS c,
            arraySum(w) AS n
        FROM (
            SELECT
                metric_id,
                unit,
                intDiv(intDiv(timestamp_ms, {period_ms:Int64}) * {period_ms:Int64}, 1000) AS period_s,
                sum(if(samples.sample_count > 0, samples.sample_count, arraySum(counts))) AS sample_count,
                sum(if(samples.sample_count > 0, samples.sum, arrayDotProduct(values, counts))) AS sum,
                min(if(samples.sample_count > 0, samples.minimum, arrayMin(values))) AS minimum,
                max(if(samples.sample_count > 0, samples.maximum, arrayMax(values))) AS maximum,
                groupArrayArray(if({has_distributions:UInt8}, values, [])) AS all_values,
                groupArrayArray(if({has_distributions:UInt8}, counts, [])) AS all_counts,
                countIf(empty(values)) = 0 AND minimum >= 0 AS is_told
            FROM (
                SELECT metric_id, timestamp_ms, unit, values, counts, sample_count, sum, minimum, maximum
                FROM metric_samples FINAL
                WHERE metric_id IN {metric_ids:Array(UInt64)}
                  AND timestamp_ms >= {start_ms:Int64} AND timestamp_ms < {end_ms:Int64}
                  AND timestamp_ms >= (SELECT toInt64(max(day) + 1) * 86400000 FROM metric_rolled_days)
                -- part totals
                UNION ALL
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
                    WHERE metric_id IN {metric_ids:Array(UInt64)}
                      AND intDiv(time_ns, 1000000) >= {start_ms:Int64} - 10800000 AND intDiv(time_ns, 1000000) < {end_ms:Int64} + 60000
                    WINDOW series AS (PARTITION BY metric_id, series_id, start_ns ORDER BY time_ns ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
                )
                WHERE added IS NOT NULL AND timestamp_ms >= {start_ms:Int64} AND timestamp_ms < {end_ms:Int64}
                  AND timestamp_ms >= (SELECT toInt64(max(day) + 1) * 86400000 FROM metric_rolled_days)
                -- end
                UNION ALL
                SELECT metric_id, timestamp_ms, unit, values, counts, sample_count, sum, minimum, maximum
                FROM metric_rollups FINAL
                WHERE resolution_s = {tier_s:UInt16} AND metric_id IN {metric_ids:Array(UInt64)}
                  AND timestamp_ms >= {start_ms:Int64} AND timestamp_ms < {end_ms:Int64}
                  AND timestamp_ms < (SELECT toInt64(max(day) + 1) * 86400000 FROM metric_rolled_days)
            ) AS samples
            GROUP BY metric_id, unit, period_s
        )
    )
    ARRAY JOIN
        arrayEnumerate({kinds:Array(String)}) AS statistic,
        {kinds:Array(String)} AS kind,
        {are_parts:Array(UInt8)} AS is_part,
        {lows:Array(Float64)} AS low,
        {highs:Array(Float64)} AS high
    WHERE NOT isNaN(value)
)
GROUP BY metric_id, unit, statistic
ORDER BY metric_id, unit, statistic
