"""A gRPC proxy with faults: calls that are late, or fail before or after they were carried out.

It passes the bytes of unary calls on and knows no message; `local.write_faults` has the one that
knows Storage Write. For faults of the connection itself (refused, reset) put `local.proxy.Proxy`
before it.
"""

import asyncio
import random
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from local.ports import HOST

_START_SECONDS = 20.0
_CALL_SECONDS = 20.0
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_reconnect_backoff_ms", 500),
)


@dataclass(frozen=True, slots=True)
class Faults:
    """What happens to a share of the calls.

    Args:
        share: 0 to 1.
        seconds: How long such a call is held back first.
        before: Whether it is then answered UNAVAILABLE without being carried out.
        after: Whether it is carried out and answered UNAVAILABLE all the same.
    """

    share: float = 0.0
    seconds: float = 0.0
    before: bool = False
    after: bool = False


class FaultProxy:
    """A server on a thread of its own, in front of another one.

    Args:
        target: `host:port` of the real server.
        seed: Of which calls are hit.
    """

    def __init__(self, target: str, seed: int = 0) -> None:
        self._target = target
        self._random = random.Random(seed)  # noqa: S311  # no secret
        self._thread = threading.Thread(target=self._run, name="fault proxy", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._started = threading.Event()
        self.faults = Faults()
        self.hit = 0
        self.address = ""

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(_START_SECONDS):
            raise TimeoutError("the fault proxy did not start")
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
        async with grpc.aio.insecure_channel(self._target, options=_OPTIONS) as channel:
            server = grpc.aio.server(options=_OPTIONS)
            server.add_generic_rpc_handlers((self.handler(channel),))
            self.address = f"{HOST}:{server.add_insecure_port(f'{HOST}:0')}"
            await server.start()
            self._started.set()
            await self._ended.wait()
            await server.stop(0)

    def handler(self, channel: grpc.aio.Channel) -> grpc.GenericRpcHandler:
        """What serves the calls, by way of a channel to the real server."""
        return _Handler(self, channel)

    async def answer(self, call: Any, request: bytes, context: Any) -> bytes:
        """One call: passed on, unless it is hit."""
        faults = self.faults
        hit = faults.share > 0 and self._random.random() < faults.share
        if hit:
            self.hit += 1
            await asyncio.sleep(faults.seconds)
            if faults.before:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "a fault, before the call")
        try:
            answer: bytes = await call(request, timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            await context.abort(
                error.code(), error.details() or "", tuple(error.trailing_metadata() or ())
            )
            raise
        if hit and faults.after:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "a fault, after the call")
        return answer


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Any unary method, as bytes."""

    def __init__(self, proxy: FaultProxy, channel: grpc.aio.Channel) -> None:
        self._proxy = proxy
        self._channel = channel

    def service(self, details: Any) -> Any:
        """See `grpc.GenericRpcHandler`."""
        call = self._channel.unary_unary(details.method)

        async def handle(request: bytes, context: Any) -> bytes:
            return await self._proxy.answer(call, request, context)

        return grpc.unary_unary_rpc_method_handler(handle)
