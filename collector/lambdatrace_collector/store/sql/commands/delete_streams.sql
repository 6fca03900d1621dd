-- One stream of a group, or with an empty name all of them.
DELETE FROM log_streams
WHERE account = {account:String} AND region = {region:String} AND log_group = {log_group:String}
  AND (empty({log_stream:String}) OR log_stream = {log_stream:String})
