DELETE FROM log_events
WHERE account = {account:String} AND region = {region:String} AND log_group = {log_group:String}
