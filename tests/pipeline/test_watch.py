"""An upload that moves goes on, however slow; one that stalls is given up, wherever it does."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest
import requests

from pipeline.deadline import OutOfTime, within
from pipeline.watch import Abandoned, Watch, WatchedUploads

STALL = 2.0
BODY = bytes(range(256)) * 24_000  # some 6 MB: more than the buffers of a connection hold


class Server:
    """Takes one request at a pace.

    Args:
        piece: Bytes that it takes at once.
        pause: Seconds between them.
        most: After so many it takes no more; None for all.
        answers: Whether it says anything at the end.
    """

    def __init__(self, piece=1_000_000, pause=0.0, most=None, answers=True):
        self.piece, self.pause, self.most, self.answers = piece, pause, most, answers
        self.taken = bytearray()
        self.ended = threading.Event()

    def serve(self, listener):
        connection, _ = listener.accept()
        with connection:
            stream = connection.makefile("rb")
            length = 0
            while line := stream.readline().strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            while len(self.taken) < min(length, self.most or length):
                piece = stream.read(min(self.piece, length - len(self.taken)))
                if not piece:
                    return
                self.taken += piece
                self.ended.wait(self.pause)
            if self.most is None and self.answers:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            self.ended.wait(30)


@contextmanager
def uploading(server, watch):
    """An upload of BODY to the server, under the watch."""
    with socket.socket() as listener, requests.Session() as session:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=server.serve, args=(listener,), daemon=True)
        thread.start()
        session.mount("http://", WatchedUploads(watch))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        try:
            yield lambda: session.put(url, data=BODY, timeout=30)
        finally:
            server.ended.set()
            thread.join(30)


def test_slow_and_moving():
    """It takes several times what a stall is given, and every byte comes through."""
    server = Server(piece=400_000, pause=STALL / 6)
    watch = Watch(STALL)
    began = time.monotonic()
    with uploading(server, watch) as upload:
        assert within(watch.left, upload).status_code == 200
    assert time.monotonic() - began > 2 * STALL
    assert bytes(server.taken) == BODY


@pytest.mark.parametrize(
    "server",
    [Server(most=1), Server(most=3_000_000), Server(answers=False)],
    ids=["at once", "in the middle", "before the answer"],
)
def test_stalled(server):
    """It is given up once nothing has moved for so long."""
    watch = Watch(STALL)
    with uploading(server, watch) as upload:
        began = time.monotonic()
        with pytest.raises(OutOfTime):
            within(watch.left, upload)
        assert STALL <= time.monotonic() - began < 10 * STALL


def test_once_abandoned_nothing_is_sent():
    """What hung and comes back is not sent to its end."""
    server = Server()
    watch = Watch(STALL)
    assert watch.abandon() is False
    with uploading(server, watch) as upload, pytest.raises(Abandoned):
        upload()
    assert len(server.taken) == 0
    with pytest.raises(Abandoned):
        watch.begins("another file")


def test_trying_again_is_no_movement():
    """A second try of a file has what the first has left; another file begins anew."""
    watch = Watch(STALL)
    watch.begins("a")
    left = watch.left()
    watch.begins("a")
    assert watch.left() <= left
    watch.begins("the job", 60.0, posted=True)
    assert watch.left() > STALL
    assert watch.abandon() is True
