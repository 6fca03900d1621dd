SELECT DISTINCT name, kind
FROM spans
WHERE {service_name:String} = '' OR service_name = {service_name:String}
ORDER BY name, kind
LIMIT 10000
