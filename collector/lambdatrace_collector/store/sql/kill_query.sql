-- Ends the queries that were sent with this mark.
KILL QUERY WHERE Settings['log_comment'] = {mark:String} ASYNC;
