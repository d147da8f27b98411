"""The relay from the Firestore emulator's trigger to the publisher."""

import contextlib
import http.client
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from local.ports import HOST, wait_until
from local.relay import Relay, register

PATH = "/functions/projects/demo-project/triggers/issues"


class Server:
    """A publisher that keeps what it gets and answers as it is told, 204 by default."""

    def __init__(self, port=0):
        self.requests = []
        self.answers = []
        self.refused = ()
        seen = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = [f"{name}: {value}" for name, value in self.headers.raw_items()]
                seen.requests.append((self.path, headers, body))
                refuse = body in seen.refused
                status = 400 if refuse else seen.answers.pop(0) if seen.answers else 204
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer((HOST, port), Handler)
        self.address = f"{HOST}:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def bodies(self):
        return [body for _, _, body in self.requests]


@pytest.fixture
def publisher():
    with contextlib.closing(Server()) as server:
        yield server


def post(relay, body, headers=b""):
    """One request as the emulator writes it; the answer's status."""
    with socket.create_connection((HOST, relay.port), timeout=10) as connection:
        connection.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n".encode()
            + headers
            + b"Content-Length: %d\r\n\r\n" % len(body)
            + body
        )
        return int(connection.recv(100).split(b" ")[1])


def arrived(publisher, number, seconds=10):
    return wait_until(lambda: len(publisher.requests) >= number, time.monotonic() + seconds)


def test_a_request_is_passed_on_as_it_came(publisher):
    """Headers keep their bytes, raw UTF-8 too, the body its own; only the path is the other's."""
    body = bytes(range(256)) * 100
    sent = "ce-document: issues/ü 東京\r\nContent-Type: application/protobuf\r\n".encode()
    with Relay(0, publisher.address) as relay:
        assert post(relay, body, sent) == 200
        assert arrived(publisher, 1)
    ((path, headers, came),) = publisher.requests
    assert path == "/"
    assert came == body
    # Python's server reads header bytes as Latin-1.
    lines = [header.encode("latin-1") for header in headers]
    assert "ce-document: issues/ü 東京".encode() in lines
    assert b"Content-Type: application/protobuf" in lines
    assert f"Host: {publisher.address}".encode() in lines
    assert [line for line in lines if line.lower().startswith(b"content-length")] == [
        b"Content-Length: 25600"
    ]


def test_one_connection_carries_many_events(publisher):
    """The emulator keeps its connection: every event of it is answered and delivered."""
    with Relay(0, publisher.address) as relay:
        connection = http.client.HTTPConnection(HOST, relay.port, timeout=10)
        for number in range(20):
            connection.request("POST", PATH, body=b"%d" % number)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"")
        connection.close()
        assert arrived(publisher, 20)
        assert relay.received == 20
    assert sorted(publisher.bodies(), key=int) == [b"%d" % number for number in range(20)]


def test_what_is_not_answered_2xx_is_sent_again(publisher):
    """Any other answer is repeated, as Eventarc does, until one is 2xx."""
    publisher.answers = [503, 429, 400, 500, 302]
    with Relay(0, publisher.address) as relay:
        assert post(relay, b"event") == 200
        assert wait_until(lambda: relay.delivered == 1, time.monotonic() + 20)
    assert publisher.bodies() == [b"event"] * 6


def test_an_event_waits_for_a_publisher_that_is_not_up():
    """An event that comes before the publisher listens is delivered once it does."""
    first = Server()
    first.close()
    port = first.server.server_address[1]
    with Relay(0, first.address) as relay:
        assert post(relay, b"early") == 200
        with contextlib.closing(Server(port)) as publisher:
            assert arrived(publisher, 1)
            assert publisher.bodies() == [b"early"]


def test_refused_events_hold_up_no_other(publisher):
    """However many events are refused again and again, the next one goes through."""
    publisher.refused = (b"poison",)
    with Relay(0, publisher.address) as relay:
        for _ in range(40):
            assert post(relay, b"poison") == 200
        assert post(relay, b"good") == 200
        assert wait_until(lambda: b"good" in publisher.bodies(), time.monotonic() + 10)
        # The relay counts it once it has read the answer.
        assert wait_until(lambda: relay.delivered == 1, time.monotonic() + 10)


def test_what_is_never_taken_is_dropped_with_an_error(publisher, caplog):
    """After its time an event is given up, and the log says so."""
    publisher.refused = (b"poison",)
    with Relay(0, publisher.address, give_up=0.3) as relay:
        assert post(relay, b"poison", b"ce-id: 7\r\n") == 200
        assert wait_until(lambda: relay.dropped == 1, time.monotonic() + 10)
    assert "an event is dropped" in caplog.text
    assert "ce-id: 7" in caplog.text


@pytest.mark.parametrize(
    ("header", "status", "why"),
    [
        ("Transfer-Encoding: chunked", 411, "no Content-Length"),
        ("Content-Length: many", 400, "Content-Length is b'many'"),
        ("Content-Length: -1", 400, "Content-Length is b'-1'"),
        ("Content-Length: " + "9" * 5_000, 400, "Content-Length is b'999"),
        ("ce-subject: " + "x" * 300_000, 431, "longer than 262144 bytes"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_request_whose_end_is_not_known_is_refused(publisher, caplog, header, status, why):
    """It is not guessed at, but answered, logged and counted; the next connection is served."""
    with Relay(0, publisher.address) as relay:
        with socket.create_connection((HOST, relay.port), timeout=10) as connection:
            connection.sendall(f"POST {PATH} HTTP/1.1\r\n{header}\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 %d " % status)
        assert (relay.refused, relay.received) == (1, 0)
        assert why in caplog.text
        assert post(relay, b"next") == 200
        assert arrived(publisher, 1)
    assert publisher.bodies() == [b"next"]


def test_an_answer_that_is_not_http_is_no_end(caplog):
    """A first line without end is a refusal like any other: the event is sent again."""
    with socket.create_server((HOST, 0)) as first:
        port = first.getsockname()[1]
        with Relay(0, f"{HOST}:{port}") as relay:
            assert post(relay, b"event") == 200
            connection, _ = first.accept()
            first.close()
            with connection, contextlib.suppress(ConnectionError):
                connection.sendall(b"x" * 300_000)
                wait_until(lambda: "is not HTTP" in caplog.text, time.monotonic() + 10)
            assert "the publisher's answer is not HTTP" in caplog.text
            with contextlib.closing(Server(port)) as publisher:
                assert arrived(publisher, 1)
                assert wait_until(lambda: relay.delivered == 1, time.monotonic() + 10)
                assert publisher.bodies() == [b"event"]


def test_a_taken_port_is_an_error():
    """Where something listens already, opening says so."""
    with socket.create_server((HOST, 0)) as server:
        relay = Relay(server.getsockname()[1], f"{HOST}:1")
        with pytest.raises(OSError, match="in use"):
            relay.open()


def test_the_trigger_is_registered_for_every_document(publisher):
    """The emulator is asked, in JSON, for every write of every document."""
    publisher.answers = [200]
    register(publisher.address, "demo-project")
    ((path, headers, body),) = publisher.requests
    assert path == ("/emulator/v1/projects/demo-project/eventarcTrigger?eventarcTriggerId=issues")
    assert "Content-Type: application/json" in headers
    assert json.loads(body) == {
        "eventType": "google.cloud.firestore.document.v1.written",
        "database": "(default)",
        "namespace": "(default)",
        "document": {"value": "{path=**}", "matchType": "PATH_PATTERN"},
    }


def test_a_refused_trigger_is_an_error(publisher):
    """An emulator that does not take the trigger would never post: that is told."""
    publisher.answers = [404]
    with pytest.raises(OSError, match="404"):
        register(publisher.address, "demo-project")
