"""SQL that is compiled from a user's words (Insights queries, filter patterns): the only way in.

A query is a tree of the nodes below. Names are never the user's: a column is one of its source's,
which are the allowed columns of a table or the names that an inner `Select` gives; functions and
types are closed tables. What the user wrote travels as bound parameters. `render` is the one place
that makes text of a tree, and refuses a tree that breaks these rules.

ClickHouse has every operator as a function (`plus`, `and`, `equals`, `in`, `if`, `tuple`), so one
kind of node serves for all; conditions on a table's key are used in that form too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from lambdatrace_collector.store.compiled_names import (
    FUNCTIONS,
    INSERTABLE,
    PARAMETER_TYPES,
    TABLES,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# The engine's own bounds are 262,144 characters, 50,000 nodes and a depth of 1,000.
NODES_MAX = 20_000
DEPTH_MAX = 150  # three frames of Python's 1,000 for each

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")


class CompiledQueryError(Exception):
    """The tree is no query that may be run: whoever made it should have refused what it is made of.

    `is_too_large` when the tree has more nodes, or deeper ones, than are allowed.
    """

    def __init__(self, message: str, *, is_too_large: bool = False) -> None:
        super().__init__(message)
        self.is_too_large = is_too_large


@dataclass(frozen=True)
class Column:
    """A column of the select's source."""

    name: str


@dataclass(frozen=True)
class Variable:
    """A variable of a lambda around it."""

    name: str


@dataclass(frozen=True)
class Parameter:
    """A value, bound as ClickHouse's `type`; equal ones are sent once. It counts as a constant."""

    value: Any
    type: str


@dataclass(frozen=True)
class Null:
    """NULL."""


@dataclass(frozen=True)
class Apply:
    """A function of the closed table; `parameters` are those in front, as quantile(0.9)(x) has."""

    function: str
    arguments: tuple[Expression, ...] = ()
    parameters: tuple[Expression, ...] = ()


@dataclass(frozen=True)
class Lambda:
    """`variables -> body`, the first argument of functions of arrays."""

    variables: tuple[str, ...]
    body: Expression


@dataclass(frozen=True)
class Total:
    """The sum of an expression over all rows of the select, beside each of them."""

    summed: Expression


Expression: TypeAlias = "Column | Variable | Parameter | Null | Apply | Lambda | Total"


@dataclass(frozen=True)
class Table:
    """A table of the schema; `is_final` reads what settles to one copy as one."""

    name: str
    is_final: bool = False


@dataclass(frozen=True)
class UnionAll:
    """The rows of all `selects`, whose columns have the same names in the same order."""

    selects: tuple[Select, ...]


class Order(NamedTuple):
    """One key of a sort; missing values come last, whatever the direction."""

    expression: Expression
    is_descending: bool = False


@dataclass(frozen=True)
class Select:
    """One SELECT: names and what they stand for; without a source it has one row.

    Every expression sees the source's columns only, never the names given here: wrap the select in
    another one to use those. Aggregate functions without `group_by` make one row of all.
    """

    columns: tuple[tuple[str, Expression], ...]
    source: Source | None = None
    where: Expression | None = None
    group_by: tuple[Expression, ...] = ()
    having: Expression | None = None
    order_by: tuple[Order, ...] = ()
    limit_one_by: tuple[Expression, ...] = ()
    limit: int | None = None

    def names(self) -> tuple[str, ...]:
        """The names of its columns, in order."""
        return tuple(name for name, _ in self.columns)


Source: TypeAlias = "Table | Select | UnionAll"


class Statement(NamedTuple):
    """A query's text, and the values of its parameters by name."""

    text: str
    parameters: dict[str, Any]


def render(query: Select) -> Statement:
    """The statement of `query`. Raises CompiledQueryError for one that may not be run."""
    renderer = _Renderer()
    return Statement(renderer.select(query, 0), renderer.parameters)


def render_insert(table: str, query: Select) -> Statement:
    """The statement that writes the rows of `query` into `table`, by the names of its columns.

    Raises CompiledQueryError for one that may not be run.
    """
    columns = INSERTABLE.get(table, frozenset())
    if not columns.issuperset(query.names()):
        raise CompiledQueryError(f"{query.names()} are not columns of {table!r} to be written")
    names = ", ".join(f"`{name}`" for name in query.names())
    statement = render(query)
    return statement._replace(text=f"INSERT INTO `{table}` ({names}) {statement.text}")


class _Scope(NamedTuple):
    """What an expression may name: the columns of the source, called `alias`, and variables."""

    alias: str
    columns: frozenset[str]
    variables: frozenset[str] = frozenset()


class _Renderer:
    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._nodes = 0

    def select(self, query: Select, depth: int) -> str:
        scope = _Scope(f"s{depth}", self._columns_of(query.source))

        def text(expression: Expression) -> str:
            return self._expression(expression, scope, depth)

        names = query.names()
        if not names or len(set(names)) < len(names):
            raise CompiledQueryError(f"the columns {names} are not one or more different names")
        columns = ", ".join(f"{text(value)} AS `{_checked(name)}`" for name, value in query.columns)
        parts = [f"SELECT {columns}"]
        if query.source is not None:
            parts.append(f"FROM {self._source(query.source, scope.alias, depth + 1)}")
        if query.where is not None:
            parts.append(f"WHERE {text(query.where)}")
        if query.group_by:
            parts.append(f"GROUP BY {', '.join(map(text, query.group_by))}")
        if query.having is not None:
            parts.append(f"HAVING {text(query.having)}")
        return " ".join(parts) + self._order_and_limits(query, text)

    def _order_and_limits(self, query: Select, text: Callable[[Expression], str]) -> str:
        end = ""
        if query.order_by:
            keys = (
                f"{text(key.expression)} {'DESC' if key.is_descending else 'ASC'} NULLS LAST"
                for key in query.order_by
            )
            end += f" ORDER BY {', '.join(keys)}"
        if query.limit_one_by:
            end += f" LIMIT 1 BY {', '.join(map(text, query.limit_one_by))}"
        if query.limit is not None:
            end += f" LIMIT {self._parameter(Parameter(query.limit, 'UInt64'))}"
        return end

    def _source(self, source: Source, alias: str, depth: int) -> str:
        self._count(depth)
        if isinstance(source, Table):
            return f"`{source.name}` AS {alias}{' FINAL' if source.is_final else ''}"
        if isinstance(source, UnionAll):
            selects = " UNION ALL ".join(self.select(each, depth) for each in source.selects)
            return f"({selects}) AS {alias}"
        return f"({self.select(source, depth)}) AS {alias}"

    def _columns_of(self, source: Source | None) -> frozenset[str]:
        if source is None:
            return frozenset()
        if isinstance(source, Select):
            return frozenset(source.names())
        if isinstance(source, Table):
            if source.name not in TABLES:
                raise CompiledQueryError(f"{source.name!r} is not a table for compiled queries")
            return TABLES[source.name]
        if len({each.names() for each in source.selects}) != 1:
            raise CompiledQueryError("the selects of a union have different columns")
        return frozenset(source.selects[0].names())

    def _expression(self, expression: Expression, scope: _Scope, depth: int) -> str:
        self._count(depth)
        if isinstance(expression, Apply):
            return self._apply(expression, scope, depth + 1)
        if isinstance(expression, Column):
            if expression.name not in scope.columns:
                raise CompiledQueryError(f"there is no column {expression.name!r}")
            return f"{scope.alias}.`{expression.name}`"
        if isinstance(expression, Parameter):
            return self._parameter(expression)
        if isinstance(expression, Null):
            return "NULL"
        if isinstance(expression, Variable):
            if expression.name not in scope.variables:
                raise CompiledQueryError(f"there is no variable {expression.name!r}")
            return f"`{expression.name}`"
        if isinstance(expression, Total):
            return f"sum({self._expression(expression.summed, scope, depth + 1)}) OVER ()"
        variables = ", ".join(f"`{_checked(name)}`" for name in expression.variables)
        inner = scope._replace(variables=scope.variables.union(expression.variables))
        return f"(({variables}) -> {self._expression(expression.body, inner, depth + 1)})"

    def _apply(self, expression: Apply, scope: _Scope, depth: int) -> str:
        name = expression.function
        if name not in FUNCTIONS:
            raise CompiledQueryError(f"{name!r} is not a function for compiled queries")
        in_front = ""
        if expression.parameters:
            values = (self._expression(each, scope, depth) for each in expression.parameters)
            in_front = f"({', '.join(values)})"
        arguments = (self._expression(each, scope, depth) for each in expression.arguments)
        return f"{name}{in_front}({', '.join(arguments)})"

    def _parameter(self, parameter: Parameter) -> str:
        if parameter.type not in PARAMETER_TYPES:
            raise CompiledQueryError(f"{parameter.type!r} is not a type for compiled queries")
        key = f"{parameter.type} {type(parameter.value).__name__} {parameter.value!r}"
        name = self._names.setdefault(key, f"p{len(self._names)}")
        self.parameters[name] = parameter.value
        return f"{{{name}:{parameter.type}}}"

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if self._nodes > NODES_MAX or depth > DEPTH_MAX:
            raise CompiledQueryError(
                f"over {NODES_MAX} nodes, or over {DEPTH_MAX} deep", is_too_large=True
            )


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise CompiledQueryError(f"{name!r} is not a name for a column or variable")
    return name
