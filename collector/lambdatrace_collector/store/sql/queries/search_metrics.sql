-- The metrics with recent data that a search expression finds, as `metrics/search_syntax.py` has them.
--
-- A name or value falls apart where something other than a letter or digit stands, before a capital that follows
-- a small letter or begins a word, and between letters and digits. A term matches where its parts follow each
-- other, or where it is the whole without its separators, in any case.
SELECT
    namespace,
    metric_name,
    names,
    values,
    arrayMap(
        field -> splitByWhitespace(
            replaceRegexpAll(
                replaceRegexpAll(
                    replaceRegexpAll(
                        replaceRegexpAll(
                            replaceRegexpAll(field, '[^A-Za-z0-9]+', ' '),
                            '([a-z])([A-Z])', '\\1 \\2'),
                        '([A-Z])([A-Z][a-z])', '\\1 \\2'),
                    '([A-Za-z])([0-9])', '\\1 \\2'),
                '([0-9])([A-Za-z])', '\\1 \\2')),
        fields) AS field_parts,
    arrayMap(
        (term_field, is_exact, text, term_parts, term_cased) -> arrayExists(
            (kind, field, parts) ->
                if(empty(term_field), kind != ':aws.AccountId', kind = term_field)
                AND if(is_exact,
                       field = text,
                       lower(arrayStringConcat(parts)) = text
                       OR arrayExists(
                           place -> arrayAll(
                               (part, is_cased, next) -> if(
                                   is_cased,
                                   parts[place + next - 1] = part,
                                   lower(parts[place + next - 1]) = lower(part)),
                               term_parts, term_cased, arrayEnumerate(term_parts)),
                           arrayEnumerate(parts))),
            kinds, fields, field_parts),
        {term_fields:Array(String)}, {terms_exact:Array(UInt8)}, {term_texts:Array(String)},
        {term_parts:Array(Array(String))}, {terms_cased:Array(Array(UInt8))}) AS matches
FROM (
    SELECT
        namespace,
        metric_name,
        metric_id,
        anyLast(metrics.dimension_names) AS names,
        anyLast(metrics.dimension_values) AS values,
        arrayConcat(
            ['Namespace', 'MetricName', ':aws.AccountId'],
            arrayMap(name -> '', names),
            names) AS kinds,
        arrayConcat([namespace, metric_name, {account:String}], names, values) AS fields
    FROM metrics
    WHERE account = {account:String} AND region = {region:String}
      AND ({has_schema:UInt8} = 0 OR namespace = {namespace:String})
    GROUP BY namespace, metric_name, metric_id
    HAVING max(last_timestamp_ms) >= {since_ms:Int64}
       AND ({has_schema:UInt8} = 0 OR names = {dimension_names:Array(String)})
)
WHERE arrayAll(
    clause -> arrayExists(term -> if(term > 0, matches[term] = 1, matches[-term] = 0), clause),
    {clauses:Array(Array(Int32))})
ORDER BY namespace, metric_name, names, values
LIMIT {metrics_max:UInt32}
