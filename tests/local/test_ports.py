"""Ports of the stack: usual, replaced, and never given twice."""

import os
import socket
import time

import pytest

from local.ports import HOST, Ports, is_free, is_served_by, listens, split, wait_until


def listening():
    return socket.create_server((HOST, 0))


def test_the_usual_port_is_given_where_it_is_free():
    """A port that nothing listens on is given as asked."""
    with listening() as server:
        port = server.getsockname()[1]
    assert is_free(port)
    assert Ports().take(port) == port


def test_a_taken_port_is_replaced_by_a_free_one():
    """A port that something listens on is replaced, and the other one is free."""
    with listening() as server:
        taken = server.getsockname()[1]
        given = Ports().take(taken)
        assert given != taken
        assert is_free(given)
        assert listens(HOST, taken)


def test_no_port_is_given_twice():
    """Parts that ask for the same port get different ones before either listens."""
    with listening() as server:
        port = server.getsockname()[1]
    ports = Ports()
    given = [ports.take(port) for _ in range(20)]
    assert given[0] == port
    assert len(set(given)) == len(given)


def test_without_a_preference_any_free_port_is_given():
    """Zero stands for any free port, never for itself."""
    given = Ports().take(0)
    assert given > 0
    assert is_free(given)


def test_outgoing_connections_get_other_ports():
    """None of ours is the system's to give, so that nothing takes it before its server does."""
    ports = Ports()
    assert all(1_024 <= ports.take(0) < 32_768 for _ in range(100))


def test_a_port_that_was_just_left_is_free():
    """Connections in TIME_WAIT do not make the next stack move to another port."""
    server = listening()
    port = server.getsockname()[1]
    with socket.create_connection((HOST, port)) as client:
        accepted, _ = server.accept()
        accepted.close()  # the server closes first: its port keeps the TIME_WAIT
        assert client.recv(1) == b""
    server.close()
    assert is_free(port)


def test_a_stranger_on_the_port_is_told_apart():
    """Only the process that listens there serves it, whoever answers."""
    with listening() as server:
        port = server.getsockname()[1]
        assert is_served_by(os.getpid(), port)
        assert not is_served_by(os.getppid(), port)
        with socket.create_connection((HOST, port)) as client:
            # The client's own port is open and not listened on.
            assert not is_served_by(os.getpid(), client.getsockname()[1])
    assert not is_served_by(os.getpid(), port)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:8085", ("localhost", 8085)),
        ("[::1]:1", ("::1", 1)),
        ("a.b:65535", ("a.b", 65535)),
    ],
)
def test_an_address_is_host_and_port(text, address):
    """What the emulators' environment variables hold is read as host and port."""
    assert split(text) == address


@pytest.mark.parametrize("text", ["", "localhost", ":8085", "localhost:", "a:0", "a:65536", "a:x"])
def test_what_is_no_address_is_refused(text):
    """Anything else is refused with an example of what it should be."""
    with pytest.raises(ValueError, match="8085"):
        split(text)


def test_waiting_ends_at_the_deadline():
    """What never gets ready is waited for until the deadline, asked at least twice."""
    asked = []
    began = time.monotonic()
    assert not wait_until(lambda: bool(asked.append(1)), began + 0.2, every=0.05)
    assert time.monotonic() - began >= 0.2
    assert len(asked) > 2
    assert wait_until(lambda: True, began)
