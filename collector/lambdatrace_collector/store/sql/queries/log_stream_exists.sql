SELECT 1 AS one FROM log_streams
WHERE account = {account:String} AND region = {region:String}
  AND log_group = {log_group:String} AND log_stream = {log_stream:String}
LIMIT 1
