SELECT 1 AS one FROM log_events
WHERE account = {account:String} AND region = {region:String} AND log_group = {log_group:String}
  AND timestamp_ms < {expired_ms:Int64}
LIMIT 1
