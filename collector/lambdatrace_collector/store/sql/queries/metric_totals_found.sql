-- A row when any of the metrics has totals that are read for a time: see metric_statistics.sql.
SELECT 1 AS found
FROM metric_totals
WHERE metric_id IN {metric_ids:Array(UInt64)}
  AND intDiv(time_ns, 1000000) >= {start_ms:Int64} AND intDiv(time_ns, 1000000) < {end_ms:Int64} + 60000
LIMIT 1
