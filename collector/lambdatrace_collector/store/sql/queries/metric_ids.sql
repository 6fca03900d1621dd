-- The ids of metrics, in the order of the arrays that describe them.
SELECT arrayMap(
    (namespace, metric_name, names, values) ->
        sipHash64({account:String}, {region:String}, namespace, metric_name, names, values),
    {namespaces:Array(String)},
    {metric_names:Array(String)},
    {dimension_names:Array(Array(String))},
    {dimension_values:Array(Array(String))}) AS metric_ids
