SELECT log_group, sum(length(message) + 26) AS stored_bytes
FROM log_events
WHERE account = {account:String} AND region = {region:String} AND has({names:Array(String)}, log_group)
GROUP BY log_group
