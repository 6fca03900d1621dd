"""The process: listen, serve, stop in order."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from lambdatrace_collector.app import Application
from lambdatrace_collector.bounded_head import BoundedHeadProtocol
from lambdatrace_collector.errors import ListenError
from lambdatrace_collector.otlp.grpc_server import OtlpGrpc
from lambdatrace_collector.store.engine import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lambdatrace_collector.settings import Settings
    from lambdatrace_collector.store.engine import Store

logger = logging.getLogger(__name__)

BACKLOG = 512
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
        store = open_store(settings.store)
    except BaseException:
        listener.close()
        raise
    try:
        asyncio.run(_serve(listener, store, settings))
    finally:
        logger.info("stop 4/4: close the store")
        store.close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket on the address. Raises ListenError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ListenError(f"--http {host}:{port} cannot be resolved: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenError(
            f"--http {host}:{port} cannot be listened on ({error.strerror}):"
            " choose another port, or 0 for a free one"
        ) from error
    return listener


async def _serve(listener: socket.socket, store: Store, settings: Settings) -> None:
    app = Application(store, settings)
    server = _Server(
        uvicorn.Config(
            app,
            http=BoundedHeadProtocol,
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
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    _announce(listener, store, doors)
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    logger.info("stop 1/4: accept no more connections")
    logger.info("stop 2/4: finish the requests that are being answered")
    app.end_streams()
    server.should_exit = True
    if grpc:
        await grpc.stop(FINISH_DEADLINE_S)
    await serving
    logger.info("stop 3/4: write the groups that wait")
    await app.drain()
    stopping.cancel()


def _announce(listener: socket.socket, store: Store, doors: Sequence[tuple[str, str]]) -> None:
    """The one line on stdout: from now on a connection is answered."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    others = "".join(f", {name} at {address}" for name, address in doors)
    print(  # noqa: T201 - the line that scripts wait for
        f"lambdatrace collector ready at http://{shown}:{port} (store {store.url.shown}){others}",
        flush=True,
    )
