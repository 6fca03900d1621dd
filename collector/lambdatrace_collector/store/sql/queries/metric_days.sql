-- The days before `day` that have samples or totals, and whether they were rolled up.
SELECT day, day IN (SELECT rolled.day FROM metric_rolled_days AS rolled) AS is_rolled_up
FROM (
    SELECT toDate(fromUnixTimestamp64Milli(timestamp_ms, 'UTC')) AS day
    FROM metric_samples
    WHERE timestamp_ms < toInt64(toUnixTimestamp({day:Date}, 'UTC')) * 1000
    GROUP BY day
    UNION DISTINCT
    SELECT toDate(fromUnixTimestamp64Nano(toInt64(time_ns), 'UTC')) AS day
    FROM metric_totals
    WHERE time_ns < toUInt64(toUnixTimestamp({day:Date}, 'UTC')) * 1000000000
    GROUP BY day
)
ORDER BY day
