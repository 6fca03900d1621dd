-- The basic statistics of one metric, per period and unit.
SELECT
    intDiv(intDiv(timestamp_ms, {period_ms:Int64}) * {period_ms:Int64}, 1000) AS timestamp_s,
    unit,
    sum(samples.sample_count) AS sample_count,
    sum(samples.sum) AS sum,
    min(samples.minimum) AS minimum,
    max(samples.maximum) AS maximum
FROM metric_samples AS samples FINAL
WHERE metric_id = sipHash64({account:String}, {region:String}, {namespace:String}, {metric_name:String},
                            {dimension_names:Array(String)}, {dimension_values:Array(String)})
  AND timestamp_ms >= {start_ms:Int64} AND timestamp_ms < {end_ms:Int64}
  AND (empty({unit:String}) OR unit = {unit:String})
GROUP BY timestamp_s, unit
ORDER BY timestamp_s, unit
