SELECT DISTINCT service_name FROM spans WHERE service_name != '' ORDER BY service_name
