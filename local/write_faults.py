"""A proxy before BigQuery's Storage Write that makes each kind of fault at an exact place.

A fault is planned for the next call of its kind, and happens before the server has heard of the
call, after it has carried it out, or in between. AppendRows is a stream of requests: there each
request is a call of its own. Counted is what really happened: a planned fault that met no call
left no trace, and a lost answer counts as lost after the write only where the write was done.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import grpc
import grpc.aio
from google.cloud.bigquery_storage_v1.types import (
    AppendRowsResponse,
    FinalizeWriteStreamRequest,
)

from local.fault import (
    AFTER,
    APPEND,
    BEFORE,
    CREATE,
    DURING,
    FINALIZE,
    Fault,
    refusal,
    trailer,
)
from local.fault_proxy import FaultProxy

_SERVICE = "/google.cloud.bigquery.storage.v1.BigQueryWrite/"
_CALLS = {
    f"{_SERVICE}AppendRows": APPEND,
    f"{_SERVICE}CreateWriteStream": CREATE,
    f"{_SERVICE}FinalizeWriteStream": FINALIZE,
}
_FINALIZE = f"{_SERVICE}FinalizeWriteStream"
_ROUTE = "x-goog-request-params"

OF_A_REFUSAL = "append: the answer that was lost was a refusal"
LATE_FIRST = "append: the late request was written, its repetition was not"
LATE_SECOND = "append: the late request came second, and was refused"

_CARRY_SECONDS = 30.0
_SILENT_SECONDS = 60.0


class WriteFaultProxy(FaultProxy):
    """The proxy.

    Args:
        target: `host:port` of the real server.

    Attributes:
        hits: How often each fault happened, by its name; and what the late requests met.
        reset: Resets every connection to this proxy; the proxy in front of it can.
        kill: Kills the server and starts it again on its data, waiting until it serves.
    """

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self._planned: dict[str, deque[Fault]] = {kind: deque() for kind in _CALLS.values()}
        self._behind: set[asyncio.Task[Any]] = set()
        self.hits: Counter[str] = Counter()
        self.reset: Callable[[], None] = _nothing
        self.kill: Callable[[], None] = _nothing

    def plan(self, faults: Iterable[Fault]) -> None:
        """Lets each happen to the next call of its kind that has none yet, in this order."""
        for fault in faults:
            self._planned[fault.call].append(fault)

    def next_is(self, fault: Fault) -> None:
        """Lets it happen to the very next call of its kind."""
        self._planned[fault.call].appendleft(fault)

    def waiting(self, kind: str) -> int:
        """How many faults of this kind of call have not met one yet."""
        return len(self._planned[kind])

    def forget(self) -> None:
        """Takes back what has not happened yet."""
        for planned in self._planned.values():
            planned.clear()

    @property
    def busy(self) -> bool:
        """Whether a request is still on its way to the server, or its answer on the way here."""
        return bool(self._behind)

    def handler(self, channel: grpc.aio.Channel) -> grpc.GenericRpcHandler:
        """See `FaultProxy`."""
        return _Handler(self, channel)

    def take(self, kind: str) -> Fault | None:
        """The fault of this call; its own."""
        planned = self._planned[kind]
        return planned.popleft() if planned else None

    def happened(self, fault: Fault) -> None:
        """Counts a fault that happens now."""
        self.hits[fault.name] += 1

    def behind(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Does work that goes on although its caller has gone."""
        task = asyncio.create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._behind.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever waits for it; nobody may


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, proxy: WriteFaultProxy, channel: grpc.aio.Channel) -> None:
        self._proxy = proxy
        self._channel = channel

    def service(self, details: Any) -> Any:
        kind = _CALLS.get(details.method)
        if kind == APPEND:
            call = self._channel.stream_stream(details.method)

            async def stream(_: Any, context: Any) -> None:
                await _Append(self._proxy, self._channel, call, context).serve()

            return grpc.stream_stream_rpc_method_handler(stream)

        method = self._channel.unary_unary(details.method)

        async def unary(request: bytes, context: Any) -> bytes:
            fault = self._proxy.take(kind) if kind else None
            return await _Unary(self._proxy, method, context).answer(request, fault)

        return grpc.unary_unary_rpc_method_handler(unary)


class _Call:
    """What a unary call and a request of a stream have in common."""

    def __init__(self, proxy: WriteFaultProxy, context: Any) -> None:
        self._proxy = proxy
        self._context = context

    async def _happen(self, fault: Fault) -> None:
        """What takes the answer from the caller; never returns."""
        self._proxy.happened(fault)
        await self._end(fault)

    async def _end(self, fault: Fault) -> None:
        if fault.what == "reset":
            self._proxy.behind(asyncio.to_thread(self._proxy.reset))
        if fault.what == "kill":
            await self._proxy.behind(asyncio.to_thread(self._proxy.kill))
        if fault.what in ("reset", "silence", "late"):
            await asyncio.sleep(_SILENT_SECONDS)  # until the caller has gone, which ends it
        await self._context.abort(fault.code, f"a fault: {fault.name}", trailer(fault))

    async def _fail(self, error: grpc.aio.AioRpcError) -> None:
        """Hands the server's own failure on; never returns."""
        code = error.code()
        if code is grpc.StatusCode.OK:  # it ended where an answer was due
            code = grpc.StatusCode.UNKNOWN
        metadata = tuple(error.trailing_metadata() or ())
        await self._context.abort(code, error.details() or "", metadata)


class _Unary(_Call):
    def __init__(self, proxy: WriteFaultProxy, method: Any, context: Any) -> None:
        super().__init__(proxy, context)
        self._method = method

    async def answer(self, request: bytes, fault: Fault | None) -> bytes:
        if fault and fault.when == BEFORE:
            await self._happen(fault)
        work = self._proxy.behind(self._carry(request))
        try:
            answer: bytes = await asyncio.shield(work)
        except grpc.aio.AioRpcError as error:
            await self._fail(error)
        if fault:
            await self._happen(fault)
        return answer

    async def _carry(self, request: bytes) -> Any:
        return await self._method(request, timeout=_CARRY_SECONDS)


class _Append(_Call):
    """One AppendRows call, request by request: the sink awaits each answer before the next."""

    def __init__(
        self, proxy: WriteFaultProxy, channel: grpc.aio.Channel, method: Any, context: Any
    ) -> None:
        super().__init__(proxy, context)
        self._finalize = channel.unary_unary(_FINALIZE)
        metadata = [
            (key, value) for key, value in context.invocation_metadata() or () if key == _ROUTE
        ]
        self._stream = metadata[0][1].removeprefix("write_stream=")
        self._server = method(metadata=metadata)
        self._carried: asyncio.Task[bytes] | None = None
        self._left = asyncio.Event()

    async def serve(self) -> None:
        try:
            while (request := await self._context.read()) is not grpc.aio.EOF:
                fault = self._proxy.take(APPEND)
                if fault and fault.what == "refusal":
                    self._proxy.happened(fault)
                    await self._context.write(refusal(fault))
                    continue
                if fault and await self._before(fault, request):
                    return
                answer = await self._exchange(request, fault)
                if fault and fault.when == AFTER and await self._after(fault, answer):
                    return
                if fault and fault.when == DURING:
                    answer = await self._altered(fault, answer)
                await self._context.write(answer)
        except grpc.aio.AioRpcError as error:
            await self._fail(error)
        finally:
            self._left.set()
            # What is on its way arrives, although the caller has gone: only then the call ends.
            if self._carried is None or self._carried.done():
                self._server.cancel()
            else:
                self._carried.add_done_callback(lambda _: self._server.cancel())

    async def _exchange(self, request: bytes, fault: Fault | None) -> bytes:
        self._carried = self._proxy.behind(self._carry(request))
        if fault and fault.what == "kill" and fault.when == DURING:
            await asyncio.sleep(fault.seconds)  # on its way, perhaps there, perhaps written
            self._proxy.happened(fault)
            await self._proxy.behind(asyncio.to_thread(self._proxy.kill))
        return await asyncio.shield(self._carried)

    async def _before(self, fault: Fault, request: bytes) -> bool:
        """What happens before the server has the request; True: the call ends well."""
        if fault.what == "late":
            self._carried = self._proxy.behind(self._carry_late(fault, request))
            await self._end(fault)
        if fault.when != BEFORE:
            return False
        if fault.what == "finalized":
            await self._seal()
            self._proxy.happened(fault)
            return False
        if fault.what == "end":
            self._proxy.happened(fault)
            return True
        await self._happen(fault)
        return True

    async def _after(self, fault: Fault, answer: bytes) -> bool:
        """What happens after the server has carried the request out; True: the call ends well."""
        if fault.what == "finalized":
            await self._seal()
        if _written(answer):
            self._proxy.happened(fault)
        else:
            self._proxy.hits[OF_A_REFUSAL] += 1
        if fault.what == "end":
            return True
        await self._end(fault)
        return True

    async def _altered(self, fault: Fault, answer: bytes) -> bytes:
        """An answer that is slow, or tells less."""
        if fault.what == "slow":
            self._proxy.happened(fault)
            await asyncio.sleep(fault.seconds)
        if fault.what in ("unnamed", "one named"):
            response = AppendRowsResponse.pb().FromString(answer)
            left = 0 if fault.what == "unnamed" else 1
            if len(response.row_errors) > left:
                self._proxy.happened(fault)
                del response.row_errors[left:]
                serialized: bytes = response.SerializeToString()
                return serialized
        return answer

    async def _seal(self) -> None:
        request = FinalizeWriteStreamRequest(name=self._stream)
        serialized = FinalizeWriteStreamRequest.serialize(request)
        await self._finalize(serialized, timeout=_CARRY_SECONDS)

    async def _carry(self, request: bytes) -> bytes:
        """The request to the server and its answer back; raises how the server's call ended."""
        try:
            async with asyncio.timeout(_CARRY_SECONDS):
                await self._server.write(request)
                answer = await self._server.read()
        except asyncio.InvalidStateError:  # it had ended before
            answer = grpc.aio.EOF
        if answer is grpc.aio.EOF:
            raise grpc.aio.AioRpcError(
                await self._server.code(),
                await self._server.initial_metadata(),
                await self._server.trailing_metadata(),
                await self._server.details(),
            )
        serialized: bytes = answer
        return serialized

    async def _carry_late(self, fault: Fault, request: bytes) -> bytes:
        await self._left.wait()
        await asyncio.sleep(fault.seconds)
        self._proxy.happened(fault)
        answer = await self._carry(request)
        self._proxy.hits[LATE_FIRST if _written(answer) else LATE_SECOND] += 1
        return answer


def _written(answer: bytes) -> bool:
    response = AppendRowsResponse.pb().FromString(answer)
    written: bool = response.HasField("append_result")
    return written


def _nothing() -> None:
    """There is nothing to reset or to kill."""
