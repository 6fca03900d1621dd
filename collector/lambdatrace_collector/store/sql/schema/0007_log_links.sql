-- What links a log event to the invocation and the trace it is of: taken out of the message when it is asked
-- for. To keep them as columns took 2.3 µs and 16 bytes for each event that PutLogEvents takes, beside 7.5 µs and
-- 30 bytes for all else; to keep them in bloom filters alone 2.4 µs, since each merge makes them anew. Who looks
-- for an id asks for its characters in the message first, which takes 0.02 µs an event.
-- Each SELECT from the table is planned with both, whether it names them or not: 1.8 ms of processor and 0.4 of
-- the 300 MB that a query may have, where 0.9 ms and 0.06 MB are all else of the smallest.
-- The order of conditions is one of cost: JSON is parsed only where a member of such a name is in it.
--
-- request_id: of Lambda's own lines (START, END, REPORT, `TIME ID Task timed out`), of its runtimes' loggers
-- (`[INFO]<tab>TIME<tab>ID<tab>…`, `TIME<tab>ID<tab>…`), of platform records, of JSON logs by the names that
-- Lambda's runtimes, Powertools and OTLP give it. Empty when there is none.
-- trace_id: 32 hex digits, whether it is written as that or as X-Ray does, `1-8hex-24hex`.

ALTER TABLE log_events ADD COLUMN IF NOT EXISTS request_id String ALIAS multiIf(
    startsWith(message, '{'),
    if(multiSearchAny(message, ['equestId"', 'request_id"', 'invocation_id"']),
        arrayFirst(id -> notEmpty(id), arrayMap(
            found -> [found.1.1, found.2, found.3, found.4, found.5.1],
            [JSONExtract(message, 'Tuple(
                record Tuple(requestId String), requestId String, AWSRequestId String, function_request_id String,
                attributes Tuple(`faas.invocation_id` String))')])[1]),
        ''),
    startsWith(message, 'START RequestId: '), substring(message, 18, 36),
    startsWith(message, 'END RequestId: '), substring(message, 16, 36),
    startsWith(message, 'REPORT RequestId: '), substring(message, 19, 36),
    substring(message, 24, 2) = 'Z ',
    extract(substring(message, 26, 37), '^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\\b'),
    position(message, '\t') > 0,
    extract(substring(message, 1, 120), '\\t([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\\b'),
    '');

ALTER TABLE log_events ADD COLUMN IF NOT EXISTS trace_id String ALIAS multiIf(
    startsWith(message, '{'),
    if(multiSearchAny(message, ['race_id"', 'raceId"', '"tracing"']),
        arrayStringConcat(extractGroups(
            lower(arrayFirst(id -> notEmpty(id), arrayMap(
                found -> [extract(found.1.1.1, 'Root=([^;]+)'), found.2, found.3, found.4],
                [JSONExtract(message, 'Tuple(
                    record Tuple(tracing Tuple(value String)), xray_trace_id String, trace_id String,
                    traceId String)')])[1])),
            '^(?:1-)?([0-9a-f]{8})-?([0-9a-f]{24})$')),
        ''),
    startsWith(message, 'REPORT RequestId: '),
    arrayStringConcat(extractGroups(message, '\\sXRAY TraceId: 1-([0-9a-f]{8})-([0-9a-f]{24})\\b')),
    '');
