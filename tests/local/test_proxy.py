"""The proxy that makes a part of the stack unreachable or slow."""

import contextlib
import socket
import socketserver
import threading
import time

import pytest

from local.ports import HOST, listens, split
from local.proxy import Proxy


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        with contextlib.suppress(ConnectionError):
            while piece := self.request.recv(65_536):
                self.request.sendall(piece)


@pytest.fixture
def echo():
    with socketserver.ThreadingTCPServer((HOST, 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{HOST}:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def proxy(echo):
    with Proxy(echo) as proxy:
        yield proxy


def connect(proxy):
    return socket.create_connection(split(proxy.address), timeout=10)


def receive(connection, size):
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data


def test_bytes_go_both_ways_unchanged(proxy):
    """What is sent comes back equal, and more than the buffers on the way hold."""
    data = bytes(range(256)) * 20_000
    with connect(proxy) as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        assert receive(connection, len(data)) == data
        sender.join()
    assert proxy.accepted == 1


def test_an_end_is_passed_on_and_answers_still_come(proxy):
    """A sender that is done still gets all that is on its way back."""
    with connect(proxy) as connection:
        connection.sendall(b"last words")
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection, 10) == b"last words"
        assert connection.recv(1) == b""


def test_refusing_breaks_what_exists_and_takes_nothing_new(proxy):
    """Open connections are reset at once, and new ones are refused."""
    with connect(proxy) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert not listens(*split(proxy.address))
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)


def test_it_comes_back_on_the_same_port(proxy):
    """After a fault the same address serves again, as often as needed."""
    address = proxy.address
    for _ in range(5):
        proxy.refuse()
        proxy.resume()
        assert proxy.address == address
        with connect(proxy) as connection:
            connection.sendall(b"again")
            assert receive(connection, 5) == b"again"
    proxy.resume()
    assert proxy.accepted == 5


def test_a_delay_holds_bytes_back_until_it_ends(proxy):
    """Each piece is late by the delay each way; without it, it is not."""
    with connect(proxy) as connection:
        proxy.delay(0.2)
        began = time.monotonic()
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        assert time.monotonic() - began >= 0.4
        proxy.delay(0)
        began = time.monotonic()
        connection.sendall(b"y")
        assert connection.recv(1) == b"y"
        assert time.monotonic() - began < 0.2


def test_a_target_that_is_gone_resets_the_client(unused_tcp_port):
    """Where the target is not reached, the client learns it at once."""
    with Proxy(f"{HOST}:{unused_tcp_port}") as proxy, connect(proxy) as connection:
        with pytest.raises(ConnectionResetError):
            receive(connection, 1)
        assert proxy.accepted == 0
