"""One port for REST and Storage Write, as Beam's Java sink wants it."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
import pytest
from google.cloud.bigquery_storage_v1 import types

from local.certificate import certificate_in, make_certificate
from local.gateway import Gateway, parse_addresses
from local.web import call

APPEND = "/google.cloud.bigquery.storage.v1.BigQueryWrite/AppendRows"
STREAM = "projects/p/datasets/d/tables/t/streams/s"
SECONDS = 20


class Handler(grpc.GenericRpcHandler):
    """Answers each request of a call with its size; a call without requests is refused."""

    def service(self, details):
        def handle(requests, context):
            count = 0
            for request in requests:
                count += 1
                yield b"%d" % len(request)
            if not count:
                context.set_trailing_metadata((("grpc-status-details-bin", b"\x00\xff"),))
                context.abort(grpc.StatusCode.NOT_FOUND, "nothing came")

        return grpc.stream_stream_rpc_method_handler(handle)


class Rest(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def appended():
    return []


@pytest.fixture
def certificate(tmp_path):
    return make_certificate(tmp_path)


@pytest.fixture
def gateway(certificate, appended):
    """A gateway before two servers of this process."""
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with HTTPServer(("127.0.0.1", 0), Rest) as rest:
        threading.Thread(target=rest.serve_forever, daemon=True).start()
        target = f"127.0.0.1:{rest.server_port}"
        with Gateway(
            target,
            f"127.0.0.1:{port}",
            certificate,
            lambda stream, rows: appended.append((stream, list(rows))),
        ) as made:
            yield made
        rest.shutdown()
    server.stop(0).wait()


@pytest.fixture(params=["secure", "plain"])
def channel(request, gateway, certificate):
    """Both ways to Storage Write."""
    if request.param == "plain":
        made = grpc.insecure_channel(gateway.plain_address)
    else:
        credentials = grpc.ssl_channel_credentials(certificate.certificate)
        made = grpc.secure_channel(gateway.address, credentials)
    with made:
        yield made


def test_rest_and_storage_write_on_one_port(gateway, channel):
    """A call over TLS and a plain request over the same address."""
    answers = channel.stream_stream("/any.Service/Call")(iter([b"a", b"bcd"]), timeout=SECONDS)
    assert list(answers) == [b"1", b"3"]
    answer = call("GET", f"{gateway.address}/bigquery/v2/x?y=1")
    assert (answer.status, answer.body) == (200, b"/bigquery/v2/x?y=1")


def test_a_unary_call(channel):
    """Passed on as any other."""
    assert channel.unary_unary("/any.Service/Call")(b"abcd", timeout=SECONDS) == b"4"


def test_a_refusal_keeps_its_details(channel):
    """Code, words and the status in the trailers, by which clients tell refusals apart."""
    answers = channel.stream_stream("/any.Service/Call")(iter([]), timeout=SECONDS)
    with pytest.raises(grpc.RpcError) as refused:
        list(answers)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert refused.value.details() == "nothing came"
    assert ("grpc-status-details-bin", b"\x00\xff") in [
        (each.key, each.value) for each in refused.value.trailing_metadata()
    ]


def test_appends_are_looked_at(channel, appended):
    """The rows of each request, and the stream that only a connection's first one names."""

    def request(stream, *rows):
        given = types.ProtoRows(serialized_rows=rows)
        data = types.AppendRowsRequest.ProtoData(rows=given)
        return types.AppendRowsRequest.serialize(
            types.AppendRowsRequest(write_stream=stream, proto_rows=data)
        )

    requests = [request(STREAM, b"1", b"2"), request("", b"3" * 5_000_000)]
    answers = channel.stream_stream(APPEND)(iter(requests), timeout=SECONDS)
    assert list(answers) == [b"%d" % len(each) for each in requests]
    assert appended == [(STREAM, [b"1", b"2"]), (STREAM, [b"3" * 5_000_000])]


def test_what_is_no_append_request_is_the_service_s_to_refuse(channel, appended):
    """It is passed on as it came, and nobody is told of rows."""
    answers = channel.stream_stream(APPEND)(iter([b"\xff\xff"]), timeout=SECONDS)
    assert list(answers) == [b"2"]
    assert appended == []


def test_a_stranger_is_not_trusted(gateway, tmp_path):
    """The certificate is this gateway's own."""
    other = tmp_path / "other"
    other.mkdir()
    credentials = grpc.ssl_channel_credentials(make_certificate(other).certificate)
    with grpc.secure_channel(gateway.address, credentials) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/any.Service/Call")(b"", timeout=SECONDS)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_as_a_process(gateway, tmp_path):
    """It says where it listens, and ends when it is told to."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "local.gateway", "--folder", str(tmp_path)),
            *("--rest", gateway.address, "--grpc", gateway.plain_address),
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        address, plain = parse_addresses(process.stdout.readline())
        assert call("GET", f"{address}/x").body == b"/x"
        credentials = grpc.ssl_channel_credentials(certificate_in(tmp_path).certificate)
        for channel in (grpc.insecure_channel(plain), grpc.secure_channel(address, credentials)):
            with channel:
                assert channel.unary_unary("/any.Service/Call")(b"ab", timeout=SECONDS) == b"2"
        process.terminate()
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
