"""What compiled queries may name: tables with their columns, functions, types of parameters.

Each function works on its arguments alone: none reads a table, a file, a URL or the server.
"""

from __future__ import annotations

TABLES = {
    "log_events": frozenset(
        {
            "account",
            "region",
            "log_group",
            "timestamp_ms",
            "event_id",
            "log_stream",
            "ingestion_ms",
            "message",
            "message.size",  # its bytes, which are stored beside it
            "request_id",
            "trace_id",
        }
    ),
}

# Tables that compiled queries may write to.
INSERTABLE = {
    "metric_input": frozenset(
        {
            "account",
            "region",
            "namespace",
            "metric_name",
            "dimension_names",
            "dimension_values",
            "timestamp_ms",
            "unit",
            "storage_resolution",
            "values",
            "counts",
            "sample_count",
            "sum",
            "minimum",
            "maximum",
            "sample_id",
            "ordinal",
        }
    ),
}

_SCALARS = ("Bool", "UInt8", "UInt32", "UInt64", "UInt128", "Int64", "Float64", "String")
PARAMETER_TYPES = frozenset(_SCALARS) | {f"Array({scalar})" for scalar in _SCALARS}

_LOGIC = "and or not if multiIf isNull isNotNull ifNull nullIf coalesce assumeNotNull toNullable"
_COMPARISON = "equals notEquals less lessOrEquals greater greaterOrEquals in notIn greatest least"
_ARITHMETIC = (
    "plus minus multiply divide intDiv modulo negate abs ceil floor round trunc log log2 log10 exp"
    " sqrt pow sign sin cos asin isNaN isFinite isInfinite positiveModulo bitAnd bitShiftRight"
)
_CONVERSION = (
    "toString toFloat64 toFloat64OrNull toInt64 toInt64OrNull toUInt8 toUInt32 toUInt64"
    " toUInt128 toInt32 toDateTime64 accurateCastOrNull toUInt64OrNull toFloat64OrZero hex unhex"
)
_STRING = (
    "length lengthUTF8 lower lowerUTF8 upper upperUTF8 concat substring substringUTF8 position"
    " positionUTF8 positionCaseInsensitive startsWith endsWith match like ilike extract extractAll"
    " extractGroups extractAllGroupsHorizontal extractAllGroupsVertical replaceAll replaceOne"
    " replaceRegexpAll replaceRegexpOne trim trimLeft trimRight trimBoth leftPad repeat empty"
    " notEmpty splitByChar splitByString splitByRegexp multiSearchAny multiSearchAnyUTF8"
    " multiSearchAnyCaseInsensitive hasToken"
    " reverse reverseUTF8 base64Encode tryBase64Decode encodeURLComponent decodeURLComponent MD5"
    " SHA256 isValidUTF8 formatRow char countSubstrings tokens"
)
_ARRAY = (
    "array arrayElement arrayElementOrNull arrayMap arrayFilter arrayExists arrayAll arrayFirst"
    " arrayFirstIndex arrayFirstOrNull arrayConcat arraySlice arrayZip arrayEnumerate arraySort"
    " arrayReverse arrayDistinct arrayCount arraySum arrayMin arrayMax arrayStringConcat arrayJoin"
    " arrayCompact arrayFlatten arrayFold arrayWithConstant arrayResize arrayPushBack has hasAny"
    " hasAll indexOf range tuple tupleElement map mapKeys mapValues mapContains mapFromArrays"
    " emptyArrayString rowNumberInAllBlocks"
)
_JSON = (
    "isValidJSON JSONHas JSONType JSONLength JSONKey JSONExtract JSONExtractRaw JSONExtractString"
    " JSONExtractInt JSONExtractFloat JSONExtractBool JSONExtractKeys JSONExtractKeysAndValues"
    " JSONExtractKeysAndValuesRaw JSONExtractArrayRaw toJSONString"
)
_TIME = (
    "toStartOfInterval toStartOfWeek toStartOfMonth toStartOfQuarter toStartOfYear toUnixTimestamp"
    " toUnixTimestamp64Milli fromUnixTimestamp64Milli toTimeZone formatDateTime toMonday addMonths"
    " toIntervalSecond toIntervalMinute toIntervalHour toIntervalDay toIntervalMonth toDate"
    " addQuarters addYears addWeeks addDays toYear toMonth toQuarter toDateTime"
    " toIntervalMillisecond toIntervalWeek toIntervalQuarter toIntervalYear dateTrunc"
)
_ADDRESS = (
    "isIPv4String isIPv6String isIPAddressInRange toIPv4OrNull toIPv6OrNull IPv4StringToNumOrNull"
)
_AGGREGATE = (
    "count countIf sum sumIf avg avgIf min minIf max maxIf any anyIf anyLast argMin argMinIf argMax"
    " argMaxIf uniqExact uniqExactIf uniqCombined64 uniq quantile quantileIf"
    " quantileExactInclusive quantileExactInclusiveIf quantileTDigest stddevSamp stddevSampIf"
    " stddevPop stddevPopIf varPop varSamp groupArray groupUniqArray groupArrayIf sumKahan"
    " sumKahanIf topK"
)

FUNCTIONS = frozenset(
    " ".join(
        (
            *(_LOGIC, _COMPARISON, _ARITHMETIC, _CONVERSION, _STRING, _ARRAY, _JSON),
            *(_TIME, _ADDRESS, _AGGREGATE),
        )
    ).split()
)
