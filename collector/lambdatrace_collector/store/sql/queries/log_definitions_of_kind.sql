-- Of every account and region: what is applied to the events that arrive.
SELECT account, region, log_group, name, document
FROM log_definitions FINAL
WHERE kind = {kind:String}
ORDER BY account, region, log_group, name
