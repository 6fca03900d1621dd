"""Switches on contrib instrumentors (`opentelemetry-instrumentation-*`) when their library comes.

Which there are is told by an index that the layer's build writes (`lambdatrace/instrumentations`),
and without one by WELL_KNOWN, for those that LAMBDATRACE_INSTRUMENTATIONS names: nothing scans
entry points, and whether an instrumentor is installed is asked when its library is imported. Where
one is on, our own patch of that library leaves its calls to it (`lambdatrace/patches`).

A row of the index is `NAME LIBRARY_MODULE INSTRUMENTOR_MODULE:CLASS`; the names are those of the
entry points in the group `opentelemetry_instrumentor`, as OTEL_PYTHON_DISABLED_INSTRUMENTATIONS
has them.
"""

from __future__ import annotations

import sys
from importlib import import_module

from lambdatrace.errors import SettingError
from lambdatrace.post_import import arm as arm_hook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from types import ModuleType

    from lambdatrace.guard import Guard

    # The instrumentor's name, the module of the library it is for, and where it is itself.
    Row = tuple[str, str, str]

VARIABLE = "LAMBDATRACE_INSTRUMENTATIONS"
DISABLED_VARIABLE = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
ALL = "all"

# What a layer's own index has instead. Source: `opentelemetry.instrumentation.bootstrap_gen` and
# the entry points of the packages it names.
WELL_KNOWN: tuple[Row, ...] = (
    ("aio-pika", "aio_pika", "opentelemetry.instrumentation.aio_pika:AioPikaInstrumentor"),
    (
        "aiohttp-client",
        "aiohttp",
        "opentelemetry.instrumentation.aiohttp_client:AioHttpClientInstrumentor",
    ),
    ("asyncpg", "asyncpg", "opentelemetry.instrumentation.asyncpg:AsyncPGInstrumentor"),
    ("botocore", "botocore", "opentelemetry.instrumentation.botocore:BotocoreInstrumentor"),
    (
        "elasticsearch",
        "elasticsearch",
        "opentelemetry.instrumentation.elasticsearch:ElasticsearchInstrumentor",
    ),
    ("fastapi", "fastapi", "opentelemetry.instrumentation.fastapi:FastAPIInstrumentor"),
    ("flask", "flask", "opentelemetry.instrumentation.flask:FlaskInstrumentor"),
    ("grpc_client", "grpc", "opentelemetry.instrumentation.grpc:GrpcInstrumentorClient"),
    ("httpx", "httpx", "opentelemetry.instrumentation.httpx:HTTPXClientInstrumentor"),
    ("jinja2", "jinja2", "opentelemetry.instrumentation.jinja2:Jinja2Instrumentor"),
    ("mysql", "mysql.connector", "opentelemetry.instrumentation.mysql:MySQLInstrumentor"),
    ("mysqlclient", "MySQLdb", "opentelemetry.instrumentation.mysqlclient:MySQLClientInstrumentor"),
    ("psycopg", "psycopg", "opentelemetry.instrumentation.psycopg:PsycopgInstrumentor"),
    ("psycopg2", "psycopg2", "opentelemetry.instrumentation.psycopg2:Psycopg2Instrumentor"),
    ("pymemcache", "pymemcache", "opentelemetry.instrumentation.pymemcache:PymemcacheInstrumentor"),
    ("pymongo", "pymongo", "opentelemetry.instrumentation.pymongo:PymongoInstrumentor"),
    ("pymysql", "pymysql", "opentelemetry.instrumentation.pymysql:PyMySQLInstrumentor"),
    ("redis", "redis", "opentelemetry.instrumentation.redis:RedisInstrumentor"),
    ("requests", "requests", "opentelemetry.instrumentation.requests:RequestsInstrumentor"),
    ("sqlalchemy", "sqlalchemy", "opentelemetry.instrumentation.sqlalchemy:SQLAlchemyInstrumentor"),
    ("starlette", "starlette", "opentelemetry.instrumentation.starlette:StarletteInstrumentor"),
    ("urllib3", "urllib3", "opentelemetry.instrumentation.urllib3:URLLib3Instrumentor"),
)

# Names of OpenTelemetry's other instrumentors, none of which is switched on by us.
_OTHERS = frozenset(
    (
        *("aiohttp-server", "aiokafka", "aiopg", "asgi", "asyncclick", "asyncio", "aws-lambda"),
        *("boto3", "cassandra", "celery", "click", "confluent_kafka", "dbapi", "django"),
        *("exceptions", "falcon", "grpc_aio_client", "grpc_aio_server", "grpc_server", "kafka"),
        *("logging", "openai", "pika", "pymssql", "pyramid", "remoulade", "sqlite3", "structlog"),
        *("system_metrics", "threading", "tornado", "tortoiseorm", "urllib", "vertexai", "wsgi"),
    )
)

_waiting: dict[str, list[str]] = {}  # module of a library → its instrumentors
_executed: set[str] = set()  # the modules of instrumentors, and the libraries, that are there


def arm(index_path: str, wanted: Collection[str], disabled: Collection[str], guard: Guard) -> None:
    """Switch on the instrumentors that are wanted and not disabled, each when its library comes."""
    rows = read_index(index_path)
    chosen, unknown = choose(rows, wanted, disabled)
    names = sorted({name for name, _, _ in (*WELL_KNOWN, *rows)})
    _report_unknown(VARIABLE, "all, none or some of ", names, wanted, unknown, guard)
    unknown = [name for name in disabled if name not in ("*", *names) and name not in _OTHERS]
    _report_unknown(DISABLED_VARIABLE, "* or some of ", names, disabled, unknown, guard)
    watched = dict.fromkeys((library for _, library, _ in chosen), __name__)
    for _, library, instrumentor in chosen:
        _waiting.setdefault(library, []).append(instrumentor)
        watched[_module_of(instrumentor)] = __name__
    arm_hook(watched, guard)


def _report_unknown(
    variable: str,
    others: str,
    names: list[str],
    given: Collection[str],
    unknown: list[str],
    guard: Guard,
) -> None:
    if unknown:
        error = SettingError(variable, ",".join(unknown), others + ", ".join(names))
        error.taken = ",".join(name for name in given if name not in unknown)
        guard.report(error.fact, error.remedy)


def attach(module: ModuleType) -> None:
    """A library or an instrumentor was imported: switch on those installed whose library is there.

    An instrumentor's own import may be what imports the library: it is on when that is done.
    """
    _executed.add(module.__name__)
    for library in list(_waiting):
        if library in _executed:
            _switch_on_those_of(library)


def _switch_on_those_of(library: str) -> None:
    places, left = _waiting.pop(library), []
    for place in places:
        name = _module_of(place)
        if name in sys.modules and name not in _executed:
            left.append(place)
        else:
            switch_on(place)
    if left:
        _waiting[library] = left


def _module_of(place: str) -> str:
    return place.partition(":")[0]


def switch_on(place: str) -> bool:
    """Activate the instrumentor at `MODULE:CLASS`; False if it is not installed.

    The instrumentor itself checks the library's version, and says so if it is none of its own.
    """
    name, _, class_name = place.partition(":")
    try:
        found = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and name.startswith(error.name):
            return False
        raise
    instrumentor = getattr(found, class_name)()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument()
    return True


def choose(
    rows: Iterable[Row], wanted: Collection[str], disabled: Collection[str]
) -> tuple[list[Row], list[str]]:
    """The rows to arm, and which names of `wanted` there are not.

    `rows` are the index's: all of them, unless `wanted` names some. A name that it has not may be
    one of WELL_KNOWN. `disabled` may be `*`, for all.
    """
    by_name = {row[0]: row for row in rows}
    if "*" in disabled or tuple(wanted) == ("none",):
        return [], []
    if ALL in wanted and not by_name:
        by_name = {row[0]: row for row in WELL_KNOWN}
    names = list(by_name if not wanted or ALL in wanted else wanted)
    by_name = {**{row[0]: row for row in WELL_KNOWN}, **by_name}
    chosen = [by_name[name] for name in names if name in by_name and name not in disabled]
    return chosen, [name for name in names if name not in by_name]


def read_index(path: str) -> list[Row]:
    """The rows of the index that is at `path`; none if it is not there."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs 2.8 ms
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        name, library, instrumentor = line.split()
        rows.append((name, library, instrumentor))
    return rows
