-- One percentile of one metric, per period and unit; linear between the two nearest values. Counts are
-- rounded to whole weights, at least one. A sample without values is a StatisticSet of several.
SELECT
    intDiv(intDiv(timestamp_ms, {period_ms:Int64}) * {period_ms:Int64}, 1000) AS timestamp_s,
    unit,
    quantileExactWeightedInterpolated({level:Float64})(value, toUInt64(greatest(1, round(weight)))) AS value
FROM metric_samples FINAL
LEFT ARRAY JOIN values AS value, counts AS weight
WHERE metric_id = sipHash64({account:String}, {region:String}, {namespace:String}, {metric_name:String},
                            {dimension_names:Array(String)}, {dimension_values:Array(String)})
  AND timestamp_ms >= {start_ms:Int64} AND timestamp_ms < {end_ms:Int64}
  AND (empty({unit:String}) OR unit = {unit:String})
GROUP BY timestamp_s, unit
HAVING countIf(empty(values)) = 0 AND min(minimum) >= 0
ORDER BY timestamp_s, unit
