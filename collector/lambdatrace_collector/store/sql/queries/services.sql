SELECT DISTINCT service_name
FROM spans
WHERE service_name != '' AND received >= fromUnixTimestamp({received_s_min:Int64})
ORDER BY service_name
