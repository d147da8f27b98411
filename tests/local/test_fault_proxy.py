"""The gRPC proxy: bytes pass as they are, faults hit what they should."""

from concurrent import futures

import grpc
import pytest

from local.fault_proxy import FaultProxy, Faults


class Echo(grpc.GenericRpcHandler):
    """Answers every call with its own bytes; counts."""

    calls = 0

    def service(self, details):
        def answer(request, context):
            self.calls += 1
            if request == b"bad":
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a bad request")
            return details.method.encode() + request

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def echo():
    server = grpc.server(futures.ThreadPoolExecutor(4))
    handler = Echo()
    server.add_generic_rpc_handlers((handler,))
    handler.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield handler
    server.stop(0).wait(10)


@pytest.fixture
def proxy(echo):
    with FaultProxy(echo.address) as running:
        yield running


@pytest.fixture
def call(proxy):
    with grpc.insecure_channel(proxy.address) as channel:
        send = channel.unary_unary("/any.Service/Method")
        yield lambda request: send(request, timeout=10, wait_for_ready=True)


def code(call, request=b"x"):
    with pytest.raises(grpc.RpcError) as error:
        call(request)
    return error.value.code()


def test_passes(call, echo):
    """Without faults every method's bytes go there and back, however many."""
    large = b"\x00\xff" * 1_000_000
    assert call(large) == b"/any.Service/Method" + large
    assert echo.calls == 1


def test_errors_pass(call):
    """The server's own refusal comes back as it is."""
    assert code(call, b"bad") is grpc.StatusCode.INVALID_ARGUMENT


def test_before(call, proxy, echo):
    """UNAVAILABLE before the call: the server never heard of it."""
    proxy.faults = Faults(share=1.0, before=True)
    assert code(call) is grpc.StatusCode.UNAVAILABLE
    assert (echo.calls, proxy.hit) == (0, 1)


def test_after(call, proxy, echo):
    """UNAVAILABLE after the call: the server has carried it out."""
    proxy.faults = Faults(share=1.0, after=True)
    assert code(call) is grpc.StatusCode.UNAVAILABLE
    assert (echo.calls, proxy.hit) == (1, 1)


def test_share(call, proxy):
    """About so large a share is hit, the same calls for the same seed."""
    proxy.faults = Faults(share=0.5, after=False)
    for _ in range(200):
        call(b"x")
    assert 70 < proxy.hit < 130
