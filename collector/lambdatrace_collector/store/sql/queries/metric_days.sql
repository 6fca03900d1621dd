-- The days before `day` that have samples, and whether they were rolled up.
SELECT
    toDate(fromUnixTimestamp64Milli(timestamp_ms, 'UTC')) AS day,
    day IN (SELECT rolled.day FROM metric_rolled_days AS rolled) AS is_rolled_up
FROM metric_samples
WHERE timestamp_ms < toInt64(toUnixTimestamp({day:Date}, 'UTC')) * 1000
GROUP BY day
ORDER BY day
