"""The publisher as it is run: uvicorn, curl, and Pub/Sub's emulator behind it."""

import asyncio
import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from contextlib import contextmanager
from itertools import count

import pytest

from local.proxy import Proxy
from publisher.broker import BrokerError
from publisher.pubsub import open_broker
from publisher.settings import Settings
from schemas.live import PUBSUB_EMULATOR_HOST, publisher_client, subscriber_client
from schemas.message import Message, event_id_of
from tests.contract.broker_contract import BrokerContract

pytestmark = pytest.mark.emulators

PROJECT = "demo-project"
SECONDS = 30
NAMES = count(1)


class Topics:
    """Topics of the emulator, and what they got."""

    def __init__(self):
        self.publisher = publisher_client()
        self.subscriber = subscriber_client()

    def make(self, *, exists=True, subscribed=True):
        """The name of a new topic."""
        topic = f"topic-{os.getpid()}-{next(NAMES)}"
        if exists:
            path = f"projects/{PROJECT}/topics/{topic}"
            self.publisher.create_topic(name=path, timeout=SECONDS, retry=None)
        if exists and subscribed:
            request = {"name": self.subscription(topic), "topic": path, "ack_deadline_seconds": 60}
            self.subscriber.create_subscription(request=request, timeout=SECONDS, retry=None)
        return topic

    @staticmethod
    def subscription(topic):
        return f"projects/{PROJECT}/subscriptions/{topic}"

    def received(self, topic, expected):
        """Waits for so many messages and returns all that there are, each acknowledged."""
        got = []
        deadline = time.monotonic() + SECONDS
        while len(got) < expected:
            assert time.monotonic() < deadline, f"{len(got)} of {expected} messages"
            got += self._pull(topic)
        return got + self._pull(topic)

    def _pull(self, topic):
        name = self.subscription(topic)
        pulled = self.subscriber.pull(
            request={"subscription": name, "max_messages": 1_000, "return_immediately": True},
            timeout=SECONDS,
            retry=None,
        ).received_messages
        if pulled:
            ids = [one.ack_id for one in pulled]
            self.subscriber.acknowledge(
                request={"subscription": name, "ack_ids": ids}, timeout=SECONDS, retry=None
            )
        return [Message(one.message.data, dict(one.message.attributes)) for one in pulled]


@pytest.fixture
def topics(pubsub_emulator, monkeypatch):
    monkeypatch.setenv(PUBSUB_EMULATOR_HOST, pubsub_emulator)
    return Topics()


class Stage:
    """The contract's stage on the emulator; a broker's topic is known by the broker."""

    def __init__(self, topics, emulator):
        self.topics = topics
        self.emulator = emulator
        self.of = {}

    def broker(self, *, topic_exists=True, subscribed=True, deadline=20.0):
        topic = self.topics.make(exists=topic_exists, subscribed=subscribed)
        settings = Settings(PROJECT, topic, publish_deadline=deadline, emulator=self.emulator)
        broker = open_broker(settings)
        self.of[broker] = topic
        return broker

    async def received(self, broker, expected):
        return await asyncio.to_thread(self.topics.received, self.of[broker], expected)


class TestPubSubBroker(BrokerContract):
    """The contract, on Pub/Sub."""

    @pytest.fixture
    async def stage(self, topics, pubsub_emulator):
        stage = Stage(topics, pubsub_emulator)
        yield stage
        for broker in stage.of:
            await broker.close()

    async def test_unreachable(self, stage):
        """A broker that can't be reached is retried until the deadline, then an error."""
        stage.emulator = f"127.0.0.1:{closed_port()}"
        broker = stage.broker(deadline=1.0)
        began = time.monotonic()
        with pytest.raises(BrokerError):
            await broker.publish([Message(b"lost")])
        assert 0.5 < time.monotonic() - began < 3
        with pytest.raises(BrokerError):
            await broker.check()

    async def test_back_within_the_deadline(self, stage, pubsub_emulator):
        """A broker that comes back in time has the message: a transient error is retried."""
        with Gate(pubsub_emulator, refuses=True) as gate:
            stage.emulator = gate.address
            broker = stage.broker()
            publishing = asyncio.create_task(broker.publish([Message(b"patient")]))
            await asyncio.to_thread(gate.wait_for_a_connection)
            gate.open()
            await publishing
            assert [m.data for m in await stage.received(broker, 1)] == [b"patient"]

    async def test_silent(self, stage, pubsub_emulator):
        """A broker that takes the call and never answers is an error at the deadline."""
        with Gate(pubsub_emulator) as gate:
            stage.emulator = gate.address
            broker = stage.broker(deadline=0.5)
            with pytest.raises(BrokerError):
                await broker.publish([Message(b"unheard")])


class Gate:
    """A proxy before the emulator: refuses or holds what comes until it is opened."""

    def __init__(self, target, *, refuses=False):
        self._target = (target.rpartition(":")[0], int(target.rpartition(":")[2]))
        self._refuses = refuses
        self._opened = threading.Event()
        self._connected = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._opened.set()
        for one in self._sockets:
            # Shut down first: closing alone leaves a thread in accept() or recv() for ever.
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # its peer was quicker
            finally:
                one.close()

    def open(self):
        self._opened.set()

    def wait_for_a_connection(self):
        assert self._connected.wait(SECONDS)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            self._connected.set()
            if self._refuses and not self._opened.is_set():
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        self._opened.wait(SECONDS)
        server = socket.create_connection(self._target, SECONDS)
        server.settimeout(None)
        self._sockets.append(server)
        for ends in ((client, server), (server, client)):
            threading.Thread(target=self._copy, args=ends, daemon=True).start()

    @staticmethod
    def _copy(source, sink):
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return  # one end is gone, and so is the connection


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Service:
    """A publisher in a process of its own, and curl."""

    def __init__(self, process, port, metrics_port):
        self.process = process
        self.port = port
        self.metrics_port = metrics_port
        self.url = f"http://127.0.0.1:{port}/"

    def get(self, path, port=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def begin(self, *arguments, data=b""):
        """Starts a curl that posts the bytes."""
        curl = subprocess.Popen(
            [
                *("curl", "-sS", "--max-time", str(SECONDS), "-X", "POST"),
                *("-w", "\n%{http_code}", "--data-binary", "@-", *arguments, self.url),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        curl.stdin.write(data)
        curl.stdin.close()
        return curl

    def wait_for_requests(self, count):
        """Waits until so many requests are held, as the metrics tell."""
        line = b"publisher_held_messages %d.0" % count
        deadline = time.monotonic() + SECONDS
        while line not in self.get("/metrics", self.metrics_port)[1].splitlines():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    @staticmethod
    def end(curl):
        """The status and the body that a curl was answered with."""
        body, _, status = curl.stdout.read().rpartition(b"\n")
        assert curl.wait(SECONDS) == 0
        return int(status), body

    def post(self, *arguments, data=b""):
        return self.end(self.begin(*arguments, data=data))


UVICORN = ("-m", "uvicorn", "publisher.main:app")


@contextmanager
def service(topic, emulator, tmp_path, *command, **environ):
    """The service, alive; ended by SIGTERM, and it must end."""
    port, metrics_port = closed_port(), closed_port()
    if command == UVICORN:  # which reads no HOST or PORT
        command = (*command, "--port", str(port))
    command = command or ("-m", "publisher")
    log = tmp_path / f"publisher-{port}.log"
    clean = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            env=clean
            | {
                "GOOGLE_CLOUD_PROJECT": PROJECT,
                "ISSUES_TOPIC": topic,
                "PUBSUB_EMULATOR_HOST": emulator,
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "METRICS_PORT": str(metrics_port),
            }
            | environ,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = Service(process, port, metrics_port)
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                assert running.get("/live")[0] == 200
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            pytest.fail(f"SIGTERM did not end the publisher:\n{log.read_text()}")


JSON = ("-H", "Content-Type: application/json")
EVENT = {"specversion": "1.0", "id": "1", "type": "t", "source": "/s"}
FIRESTORE_SOURCE = "//firestore.googleapis.com/projects/projects/p/databases/(default)"
FIRESTORE = (
    *("-H", "ce-specversion: 1.0", "-H", "ce-id: a-b", "-H", f"ce-source: {FIRESTORE_SOURCE}"),
    *("-H", "ce-type: google.cloud.firestore.document.v1.written"),
    *("-H", "ce-time: 2026-11-24T10:00:00Z", "-H", "ce-subject: documents/issues/ü"),
    *("-H", "ce-document: issues/" + "d" * 1_400),
    *("-H", "ce-datacontenttype: application/protobuf"),
    *("-H", "Content-Type: application/protobuf"),
)
PROTOBUF = b"\x0a\x04\x00\xff\x80\x01"
BATCH = [EVENT | {"data": 1.5}, EVENT | {"id": "2", "data_base64": "AAE="}]


@pytest.fixture
def topic(topics):
    return topics.make()


class TestService:
    @pytest.mark.parametrize(
        ("arguments", "data", "status", "expected"),
        [
            (JSON, b' {"issue":"Gr\xc3\xbc\xc3\x9fe", "n": 1.10}\n', 200, None),
            ((), b'{"issue":"Test","priority":"P1"}', 200, None),
            (("-H", "Content-Type:"), b'{"issue":"Test"}', 200, None),
            (FIRESTORE, PROTOBUF, 204, [PROTOBUF]),
            (FIRESTORE, base64.b64encode(PROTOBUF), 204, [base64.b64encode(PROTOBUF)]),
            (FIRESTORE, b"", 204, [b""]),
            ((*FIRESTORE[:-2], *JSON), b'{"value": {}}', 204, [b'{"value": {}}']),
            (
                ("-H", "Content-Type: application/cloudevents+json; charset=utf-8"),
                json.dumps(EVENT)[:-1].encode() + b', "data": {"n": 1.10, "big": 1e400}}',
                204,
                [b'{"n": 1.10, "big": 1e400}'],
            ),
            (
                ("-H", "Content-Type: application/cloudevents-batch+json"),
                json.dumps(BATCH).encode(),
                204,
                [b"1.5", b"\x00\x01"],
            ),
            (JSON, json.dumps({"data": base64.b64encode(PROTOBUF).decode()}).encode(), 204, None),
            (JSON, b'{"a":"' + b"x" * 8_999_992 + b'"}', 200, None),
        ],
        ids=[
            *("manual", "curl's own type", "no type", "protobuf", "base64", "no body", "json"),
            *("structured", "batch", "older", "largest"),
        ],
    )
    def test_accepted(self, topics, shared, *, arguments, data, status, expected):
        """Each kind of body is on the topic, byte for byte, when its answer comes."""
        running, topic = shared
        got, answer = running.post(*arguments, data=data)
        if got == 200:
            expected = [data]
        elif expected is None:
            expected = [PROTOBUF]
        messages = topics.received(topic, len(expected))
        assert got == status
        assert Counter(message.data for message in messages) == Counter(expected)
        for message in messages:
            attributes = message.attributes
            event_id = event_id_of(attributes["ce-source"], attributes["ce-id"])
            assert attributes["event_id"] == attributes["dedup_id"] == event_id
        if status == 200:
            issue_id = messages[0].attributes["issue_id"]
            assert json.loads(answer) == {"issue_id": issue_id, "status": "created"}
            assert uuid.UUID(messages[0].attributes["ce-id"]).version == 4
        else:
            assert answer == b""

    def test_firestore_attributes(self, topics, shared):
        """A Firestore event's headers are attributes; raw UTF-8 is read, a long hint left out."""
        running, topic = shared
        assert running.post(*FIRESTORE, data=PROTOBUF)[0] == 204
        (message,) = topics.received(topic, 1)
        event_id = event_id_of(FIRESTORE_SOURCE, "a-b")
        assert message.attributes == {
            "ce-specversion": "1.0",
            "ce-id": "a-b",
            "ce-source": FIRESTORE_SOURCE,
            "ce-type": "google.cloud.firestore.document.v1.written",
            "ce-time": "2026-11-24T10:00:00Z",
            "ce-subject": "documents/issues/ü",
            "content-type": "application/protobuf",
            "event_id": event_id,
            "dedup_id": event_id,
        }

    @pytest.mark.parametrize(
        ("arguments", "data", "status", "error"),
        [
            (JSON, b"", 400, "Empty request"),
            (JSON, b"[1]", 400, "body: is not a JSON object"),
            (("-H", "Content-Type: text/plain"), b"{}", 415, "'text/plain' is not taken"),
            (("-H", "ce-id: 1"), b"", 400, "ce-specversion: missing"),
            (JSON, b"x" * 9_000_001, 413, "body: more than 9000000 bytes"),
            ((*JSON, "-H", "Expect:"), b"x" * 12_000_000, 413, "body: more than 9000000 bytes"),
            (("-H", "Transfer-Encoding: chunked"), b"x" * 9_000_001, 413, "body: more than"),
            (("-X", "PUT"), b"{}", 405, "Method Not Allowed"),
            (("-H", "X: " + "x" * 40_000), b"{}", 431, "headers: more than 32768 bytes"),
            (("-H", "Content-Length: x"), b"{}", 400, "not a valid HTTP/1.1 request"),
        ],
    )
    def test_refused(self, topics, shared, *, arguments, data, status, error):
        """A refused request hears why, over a real connection, and nothing is published."""
        running, topic = shared
        got, answer = running.post(*arguments, data=data)
        assert got == status
        assert json.loads(answer)["error"].startswith(error)
        assert topics.received(topic, 0) == []

    @pytest.fixture(scope="class")
    def shared(self, pubsub_emulator, tmp_path_factory):
        """One service for the cases that leave nothing behind, and its topic."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(PUBSUB_EMULATOR_HOST, pubsub_emulator)
            topic = Topics().make()
        with service(topic, pubsub_emulator, tmp_path_factory.mktemp("publisher")) as running:
            yield running, topic

    def test_ready(self, topics, pubsub_emulator, tmp_path):
        """Ready once the topic has a subscription, with the reason until then."""
        topic = topics.make(subscribed=False)
        with service(topic, pubsub_emulator, tmp_path) as running:
            status, answer = running.get("/ready")
            assert (status, b"no subscription" in answer) == (503, True)
            request = {
                "name": topics.subscription(topic),
                "topic": f"projects/{PROJECT}/topics/{topic}",
            }
            topics.subscriber.create_subscription(request=request, timeout=SECONDS, retry=None)
            deadline = time.monotonic() + SECONDS
            while running.get("/ready")[0] != 200:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def test_broker_down(self, topic, tmp_path):
        """Without a broker a request is a 503 with Retry-After at its deadline."""
        emulator = f"127.0.0.1:{closed_port()}"
        with service(topic, emulator, tmp_path, PUBLISH_DEADLINE_SECONDS="0.5") as running:
            status, answer = running.post(*JSON, "-D", "/dev/stdout", data=b'{"issue":"x"}')
            assert status == 503
            assert b"retry-after: 5" in answer.lower()
            status, answer = running.get("/ready")
            assert (status, b"ServiceUnavailable" in answer) == (503, True)

    @pytest.mark.parametrize("command", [(), UVICORN], ids=["module", "uvicorn"])
    def test_sigterm_answers_what_is_in_flight(
        self, topics, topic, pubsub_emulator, tmp_path, command
    ):
        """What was accepted when SIGTERM comes is published and answered; then it exits 0."""
        with (
            Gate(pubsub_emulator) as gate,
            service(topic, gate.address, tmp_path, *command) as running,
        ):
            curl = running.begin(*JSON, data=b'{"issue":"last"}')
            gate.wait_for_a_connection()
            running.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + SECONDS
            while self.accepts(running.port):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            gate.open()
            status, answer = running.end(curl)
            assert (status, json.loads(answer)["status"]) == (200, "created")
            running.process.wait(SECONDS)
            # uvicorn, run as a command, ends by the signal that it was sent; that is its way.
            assert running.process.returncode == (-signal.SIGTERM if command else 0)
        assert [m.data for m in topics.received(topic, 1)] == [b'{"issue":"last"}']

    def test_sigterm_with_a_slow_broker(self, topics, topic, pubsub_emulator, tmp_path):
        """Messages whose acks take long when SIGTERM comes are all answered by their acks."""
        with Proxy(pubsub_emulator) as proxy, service(topic, proxy.address, tmp_path) as running:
            proxy.delay(0.3)
            bodies = [b'{"n":%d}' % n for n in range(8)]
            curls = [running.begin(*JSON, data=body) for body in bodies]
            running.wait_for_requests(len(curls))
            running.process.send_signal(signal.SIGTERM)
            assert [running.end(curl)[0] for curl in curls] == [200] * len(curls)
            assert running.process.wait(SECONDS) == 0
        received = topics.received(topic, len(bodies))
        assert sorted(message.data for message in received) == bodies

    def test_sigterm_with_a_silent_broker(self, topic, pubsub_emulator, tmp_path):
        """A broker that says nothing does not hold up the end: 503, exit 0, within 10 s.

        Cloud Run kills after ten; the requests here would wait for half a second less.
        """
        with (
            Gate(pubsub_emulator) as gate,
            service(topic, gate.address, tmp_path, PUBLISH_DEADLINE_SECONDS="8.5") as running,
        ):
            curls = [running.begin(*JSON, data=b'{"n":%d}' % n) for n in range(8)]
            running.wait_for_requests(len(curls))
            began = time.monotonic()
            running.process.send_signal(signal.SIGTERM)
            answers = [running.end(curl) for curl in curls]
            assert running.process.wait(SECONDS) == 0
            assert time.monotonic() - began < 9.8
        assert [status for status, _ in answers] == [503] * len(curls)
        assert all(b"send it again" in body for _, body in answers)

    @staticmethod
    def accepts(port):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    @pytest.mark.parametrize(
        ("command", "code"),
        [((*UVICORN, "--port", "0"), 3), (("-m", "publisher"), 2)],
    )
    def test_no_project(self, tmp_path, command, code):
        """Without a project it says so in a sentence, without a traceback, and ends."""
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "CLOUDSDK_CONFIG": str(tmp_path),
            "NO_GCE_CHECK": "true",
        }
        done = subprocess.run(
            [sys.executable, *command],
            env=environ,
            timeout=SECONDS,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert "GOOGLE_CLOUD_PROJECT: is not set" in done.stderr
        assert "Traceback" not in done.stderr
