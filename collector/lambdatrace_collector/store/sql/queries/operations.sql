SELECT DISTINCT name, kind
FROM spans
WHERE ({service_name:String} = '' OR service_name = {service_name:String})
  AND received >= fromUnixTimestamp({received_s_min:Int64})
ORDER BY name, kind
LIMIT 10000
