"""Functions of IP addresses.

Source: CloudWatch Logs user guide, "IP address functions".
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from lambdatrace_collector.logs.insights.function_table import Function, condition
from lambdatrace_collector.logs.insights.syntax import Call, QuerySyntaxError, Text
from lambdatrace_collector.logs.insights.values import (
    Kind,
    Value,
    as_text,
    bound,
    call,
    string,
)
from lambdatrace_collector.store.compiled_query import Parameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace_collector.logs.insights.function_table import Context
    from lambdatrace_collector.store.compiled_query import Expression

PRIVATE_SUBNETS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")  # RFC 1918
SUBNETS = {"isipinsubnet": (4, 6), "isipv4insubnet": (4,), "isipv6insubnet": (6,)}


def _is_address(*functions: str) -> Callable[[Value], Expression]:
    def make(value: Value) -> Expression:
        def body(text: Expression) -> Expression:
            tests = [call(function, text) for function in functions]
            return tests[0] if len(tests) == 1 else call("or", *tests)

        return bound(as_text(value), body)

    return make


def _in_subnet(node: Call, context: Context) -> Value:
    if len(node.arguments) != 2 or not isinstance(node.arguments[1], Text):  # noqa: PLR2004 -- an address, a subnet
        raise QuerySyntaxError(
            f"{node.function}() takes an address and a subnet as a quoted string", node.span
        )
    subnet = node.arguments[1]
    try:
        network = ipaddress.ip_network(subnet.value, strict=False)
    except ValueError:
        network = None
    if network is None or network.version not in SUBNETS[node.function]:
        raise QuerySyntaxError(
            f"{subnet.value!r} is not a subnet for {node.function}(), such as 10.0.0.0/8",
            subnet.span,
        )
    is_address = "isIPv4String" if network.version == 4 else "isIPv6String"  # noqa: PLR2004 -- IPv4
    never = "0.0.0.0" if network.version == 4 else "::"  # noqa: PLR2004, S104 -- IPv4; no socket
    prefix = string(str(network))

    def body(text: Expression) -> Expression:
        is_valid = call("ifNull", call(is_address, text), Parameter(0, "UInt8"))
        # The engine's function fails for what is no address, so that it is never given one.
        address = call("assumeNotNull", call("if", is_valid, text, string(never)))
        return call("and", is_valid, call("isIPAddressInRange", address, prefix))

    return Value(bound(as_text(context.compile(node.arguments[0])), body), Kind.BOOLEAN)


def _is_private_ip(node: Call, context: Context) -> Value:
    if len(node.arguments) != 1:
        raise QuerySyntaxError(f"{node.function}() takes 1 value", node.span)
    tests = [
        _in_subnet(Call("isipv4insubnet", (*node.arguments, Text(subnet))), context).expression
        for subnet in PRIVATE_SUBNETS
    ]
    return Value(call("or", *tests), Kind.BOOLEAN)


def _ipv4_to_number(value: Value) -> Value:
    found = call("IPv4StringToNumOrNull", as_text(value))
    return Value(call("toFloat64", found), Kind.NUMBER)


ADDRESSES: dict[str, Function] = {
    "isvalidip": Function(condition(_is_address("isIPv4String", "isIPv6String")), 1, 1),
    "isvalidipv4": Function(condition(_is_address("isIPv4String")), 1, 1),
    "isvalidipv6": Function(condition(_is_address("isIPv6String")), 1, 1),
    "ipv4tonumber": Function(_ipv4_to_number, 1, 1),
}
ADDRESSES_OF_CONTEXT: dict[str, Callable[[Call, Context], Value]] = {
    "isprivateip": _is_private_ip,
    **dict.fromkeys(SUBNETS, _in_subnet),
}
