-- One page of the metrics with recent data that match. Empty namespace, name and filter value match all.
SELECT
    namespace,
    metric_name,
    metric_id,
    anyLast(metrics.dimension_names) AS names,
    anyLast(metrics.dimension_values) AS values
FROM metrics
WHERE account = {account:String} AND region = {region:String}
  AND (empty({namespace:String}) OR namespace = {namespace:String})
  AND (empty({metric_name:String}) OR metric_name = {metric_name:String})
  AND (namespace, metric_name, metric_id)
      > ({after_namespace:String}, {after_name:String}, {after_id:UInt64})
  AND arrayAll(
        (name, value) -> has(metrics.dimension_names, name)
            AND (empty(value) OR metrics.dimension_values[indexOf(metrics.dimension_names, name)] = value),
        {filter_names:Array(String)}, {filter_values:Array(String)})
GROUP BY namespace, metric_name, metric_id
HAVING max(last_timestamp_ms) >= {since_ms:Int64}
ORDER BY namespace, metric_name, metric_id
LIMIT {page_max:UInt32}
