-- Anything of a group that should be empty.
SELECT 1 AS one FROM log_events
WHERE account = {account:String} AND region = {region:String} AND log_group = {log_group:String}
LIMIT 1
UNION ALL
SELECT 1 AS one FROM log_streams
WHERE account = {account:String} AND region = {region:String} AND log_group = {log_group:String}
LIMIT 1
