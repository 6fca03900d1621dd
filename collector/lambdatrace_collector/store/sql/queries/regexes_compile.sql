-- Fails with code 427 (CANNOT_COMPILE_REGEXP) unless the engine can run every expression, whatever rows there are.
SELECT arrayExists(regex -> match('', regex), {regexes:Array(String)}) AS is_match
