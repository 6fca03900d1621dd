-- OTLP data points of a metric and of a CloudWatch namespace; empty text matches all.
SELECT * EXCEPT (account, region, namespace, received_ms, series_id)
FROM metric_points FINAL
WHERE ({metric_name:String} = '' OR name = {metric_name:String})
  AND ({namespace:String} = '' OR namespace = {namespace:String})
ORDER BY time_unix_nano DESC, series_id
LIMIT {points_max:UInt32}
