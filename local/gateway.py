"""One port that serves BigQuery's stand-in to Beam's Java sink.

The sink is given one address for both of BigQuery's halves. Its gRPC client always speaks TLS, and
its REST client trusts only the authorities of its own bundle, so REST goes plain: the first byte of
a connection tells the two apart (0x16 begins a TLS handshake, RFC 8446, section 5.1).

    python -m local.gateway --rest HOST:PORT --grpc HOST:PORT --folder DIR

says on standard output where it listens (`address`, `plain_address`), and runs until it is told to
stop. The trust store for its certificate is in the folder.
"""

import argparse
import asyncio
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
from google.cloud.bigquery_storage_v1 import types
from google.protobuf.message import DecodeError

from local.certificate import Certificate, certificate_in
from local.ports import HOST, split
from local.proxy import Proxy
from local.signals import Interrupted, raise_interrupted

_START_SECONDS = 20.0
_SILENT_SECONDS = 30.0
_SAYS = "gateway at"
_TLS_HANDSHAKE = b"\x16"
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Java's client pings more often than gRPC's server likes by itself.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
)
_APPEND_ROWS = "/google.cloud.bigquery.storage.v1.BigQueryWrite/AppendRows"

Appended = Callable[[str, Sequence[bytes]], None]
"""Told the stream and the serialized rows of each append request, before the service has them."""

Called = Callable[[str], None]
"""Told the full method of each call, `/package.Service/Method`."""


class Gateway:
    """Serves REST and Storage Write on one port, from `__enter__` to `__exit__`.

    Args:
        rest: `host:port` of the stand-in's REST.
        grpc_target: `host:port` of its Storage Write, plaintext.
        certificate: For 127.0.0.1.
        appended: Told of every append request; called on the gateway's own thread.
        called: Told of every call, likewise.
    """

    def __init__(
        self,
        rest: str,
        grpc_target: str,
        certificate: Certificate,
        appended: Appended = lambda stream, rows: None,  # noqa: ARG005
        called: Called = lambda method: None,  # noqa: ARG005
    ) -> None:
        self._write = WriteProxy(grpc_target, certificate, appended, called)
        self._front: _Front | None = None
        self._rest = rest
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as parts:
            parts.enter_context(self._write)
            self._front = parts.enter_context(_Front(self._rest, self._write.address))
            self._parts = parts.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._parts.__exit__(kind, error, trace)

    @property
    def address(self) -> str:
        """Where it listens, `host:port`."""
        if self._front is None:
            raise RuntimeError("the gateway is not open")
        return self._front.address

    @property
    def plain_address(self) -> str:
        """Storage Write without TLS, for Python's client: the same proxy on a port of its own."""
        return self._write.plain_address


class _Front(Proxy):
    """Passes a connection on by its first byte."""

    def __init__(self, rest: str, secure: str) -> None:
        super().__init__(rest)
        self._secure = split(secure)

    def _choose(self, client: socket.socket) -> tuple[str, int]:
        client.settimeout(_SILENT_SECONDS)
        first = client.recv(1, socket.MSG_PEEK)
        client.settimeout(None)
        return self._secure if first == _TLS_HANDSHAKE else super()._choose(client)


class WriteProxy:
    """A gRPC server with TLS, on a thread of its own, that passes calls on and looks at appends.

    Args:
        target: `host:port` of the real server, plaintext.
        certificate: Its own.
        appended: See `Gateway`.
        called: See `Gateway`.
    """

    def __init__(
        self, target: str, certificate: Certificate, appended: Appended, called: Called
    ) -> None:
        self._target = target
        self._certificate = certificate
        self._appended = appended
        self._called = called
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._started = threading.Event()
        self.address = self.plain_address = ""

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(_START_SECONDS):
            raise TimeoutError("the gateway did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._loop and self._ended:
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(_START_SECONDS)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        key, chain = self._certificate.key, self._certificate.certificate
        async with grpc.aio.insecure_channel(self._target, options=_OPTIONS) as channel:
            server = grpc.aio.server(options=_OPTIONS)
            server.add_generic_rpc_handlers((_Calls(channel, self._appended, self._called),))
            credentials = grpc.ssl_server_credentials([(key, chain)])
            self.address = f"{HOST}:{server.add_secure_port(f'{HOST}:0', credentials)}"
            self.plain_address = f"{HOST}:{server.add_insecure_port(f'{HOST}:0')}"
            await server.start()
            self._started.set()
            await self._ended.wait()
            await server.stop(0)


class _Calls(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Any call, as bytes; every one is passed on as a stream of both sides."""

    def __init__(self, channel: grpc.aio.Channel, appended: Appended, called: Called) -> None:
        self._channel = channel
        self._appended = appended
        self._called = called

    def service(self, details: Any) -> Any:
        """See `grpc.GenericRpcHandler`."""
        method = details.method
        self._called(method)
        named = [each for each in details.invocation_metadata or () if each[0].startswith("x-goog")]

        async def handle(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            call = self._channel.stream_stream(method)(metadata=named)
            sender = asyncio.create_task(self._send(method, requests, call))
            try:
                while (answer := await call.read()) is not grpc.aio.EOF:
                    yield answer
            except grpc.aio.AioRpcError as error:
                # With its trailers: the StorageError in them tells refusals apart.
                await context.abort(
                    error.code(), error.details() or "", tuple(error.trailing_metadata() or ())
                )
            finally:
                sender.cancel()
                call.cancel()

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _send(self, method: str, requests: AsyncIterator[bytes], call: Any) -> None:
        stream = ""
        try:
            async for request in requests:
                if method == _APPEND_ROWS:
                    stream = self._look(stream, request)
                await call.write(request)
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the call is over: its answer says how

    def _look(self, stream: str, request: bytes) -> str:
        """Tells of an append request; returns its stream, which only the first one names."""
        try:
            append = types.AppendRowsRequest.pb().FromString(request)
        except DecodeError:
            return stream  # the service's to refuse
        stream = append.write_stream or stream
        self._appended(stream, append.proto_rows.rows.serialized_rows)
        return stream


def parse_addresses(said: str) -> tuple[str, ...]:
    """What a gateway's process has said: its two addresses; () before it did."""
    for line in said.splitlines():
        if line.startswith(_SAYS):
            return tuple(line.removeprefix(_SAYS).split())
    return ()


def main() -> None:
    """Runs a gateway until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m local.gateway")
    parser.add_argument("--rest", required=True, metavar="HOST:PORT")
    parser.add_argument("--grpc", required=True, metavar="HOST:PORT")
    parser.add_argument("--folder", required=True, type=Path, help="for its certificate")
    arguments = parser.parse_args()
    raise_interrupted()
    with (
        suppress(Interrupted),
        Gateway(arguments.rest, arguments.grpc, certificate_in(arguments.folder)) as gateway,
    ):
        print(f"{_SAYS} {gateway.address} {gateway.plain_address}", flush=True)
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
