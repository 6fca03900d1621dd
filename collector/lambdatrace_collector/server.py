"""The process: listen, serve, stop in order."""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from lambdatrace_collector.connections import BoundedHttpProtocol
from lambdatrace_collector.errors import ListenError
from lambdatrace_collector.store.engine import open_store
from lambdatrace_collector.xray.receiver import udp_socket

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lambdatrace_collector.settings import Settings
    from lambdatrace_collector.store.engine import Store
    from lambdatrace_collector.store.url import StoreUrl

logger = logging.getLogger(__name__)

BACKLOG = 512
PORT_TRIES = 10
KEEP_ALIVE_S = (
    75  # longer than the 60 s after which common clients close idle connections themselves
)
FINISH_DEADLINE_S = 20  # for requests being answered when we stop; Docker kills after 30 by default


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers, which would end the process before we drained."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then stop in order. Raises StartupError."""
    listener = listen(settings.http_host, settings.http_port)
    try:
        xray = listen_xray(*settings.xray) if settings.xray else None
        store = _opened(settings.store)
    except BaseException:
        listener.close()
        raise
    try:
        asyncio.run(_serve(listener, xray, store, settings))
    finally:
        logger.info("stop 4/4: close the store")
        store.close()


def _opened(url: StoreUrl) -> Store:
    """The store at `url`; while the engine opens it, what serves it is loaded. As `open_store`."""
    with ThreadPoolExecutor(1, thread_name_prefix="store-open") as opener:
        opening = opener.submit(open_store, url)
        # On two cores this is half a second less until the collector is ready.
        importlib.import_module("lambdatrace_collector.app")
        importlib.import_module("lambdatrace_collector.otlp.grpc_server")
        return opening.result()


def listen(host: str, port: int, option: str = "--http") -> socket.socket:
    """A listening socket on the address. Raises ListenError, which names `option`."""
    family, address = _resolve(host, port, option)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _taken(host, port, option, error) from error
    return listener


def listen_xray(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A TCP and a UDP socket on the same port. Raises ListenError."""
    for _ in range(PORT_TRIES):
        listener = listen(host, port, "--xray")
        try:
            return listener, udp_socket(listener.getsockname(), listener.family)
        except OSError as error:
            listener.close()
            failure = _taken(host, port, "--xray", error)
        if port:
            break
        # A free port of TCP's may be taken by UDP.
    raise failure


def _resolve(host: str, port: int, option: str) -> tuple[socket.AddressFamily, Any]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(f"{option} {host}:{port} cannot be resolved: {error.strerror}") from error
    return found[0][0], found[0][4]


def _taken(host: str, port: int, option: str, error: OSError) -> ListenError:
    others = "" if option == "--http" else f", or --no-{option[2:]}"
    return ListenError(
        f"{option} {host}:{port} cannot be listened on ({error.strerror}):"
        f" choose another port, or 0 for a free one{others}"
    )


async def _serve(
    listener: socket.socket,
    xray: tuple[socket.socket, socket.socket] | None,
    store: Store,
    settings: Settings,
) -> None:
    from lambdatrace_collector.app import Application
    from lambdatrace_collector.otlp.grpc_server import OtlpGrpc

    app = Application(store, settings)
    server = _Server(
        uvicorn.Config(
            app,
            http=BoundedHttpProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=FINISH_DEADLINE_S,
        )
    )
    grpc = OtlpGrpc(app.ingests, app.admission) if settings.grpc else None
    doors = [("OTLP/gRPC", await grpc.start(*settings.grpc))] if grpc and settings.grpc else []
    loop = asyncio.get_running_loop()
    listeners = [listener]
    if xray:
        # X-Ray's API by TCP is that of the other port: the daemon's is a proxy of it.
        listeners.append(xray[0])
        transport, _ = await loop.create_datagram_endpoint(lambda: app.datagrams, sock=xray[1])
        doors.append(("X-Ray", _shown(xray[0])))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve(sockets=listeners))
    stopping = asyncio.create_task(stop.wait())
    _announce(listener, store, doors)
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    logger.info("stop 1/4: accept no more connections")
    logger.info("stop 2/4: finish the requests that are being answered")
    app.end_streams()
    server.should_exit = True
    if xray:
        transport.close()
    if grpc:
        await grpc.stop(FINISH_DEADLINE_S)
    await serving
    logger.info("stop 3/4: write the groups that wait")
    await app.drain()
    stopping.cancel()


def _announce(listener: socket.socket, store: Store, doors: Sequence[tuple[str, str]]) -> None:
    """The one line on stdout: from now on a connection is answered."""
    others = "".join(f", {name} at {address}" for name, address in doors)
    url = f"http://{_shown(listener)}"
    print(  # noqa: T201 - the line that scripts wait for
        f"lambdatrace collector ready at {url} (store {store.url.shown}){others}",
        flush=True,
    )


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
