"""The HTTP contract, over the application with a broker in memory."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
from itertools import pairwise

import httpx
import pytest

import publisher.intake
import publisher.post
from publisher.app import create_app
from publisher.body import DRAIN_BYTES
from publisher.settings import Settings, read_settings
from schemas.problem import Problem, ProblemsFound
from tests.contract.broker_contract import MemoryBroker

LIMIT = 9_000_000
ISSUE = {"issue": "Test", "priority": "P1"}
EVENT_HEADERS = [
    ("ce-specversion", "1.0"),
    ("ce-id", "1"),
    ("ce-type", "t"),
    ("ce-source", "/s"),
    ("ce-subject", "documents/issues/ü".encode()),
]


class TestPost:
    async def test_manual(self, client, broker):
        """A manual issue is answered 200 with its id, and is on the topic by then."""
        response = await client.post("/", json=ISSUE)
        (message,) = broker.messages
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert response.json() == {
            "issue_id": message.attributes["issue_id"],
            "status": "created",
        }
        assert json.loads(message.data) == ISSUE
        assert message.attributes["ce-id"] == "id-1"
        assert message.attributes["ce-time"] == "2026-11-24T10:00:00.000000Z"

    async def test_event(self, client, broker):
        """An event is answered 204 without a body; raw UTF-8 in a header is read."""
        headers = [
            (k.encode(), v if isinstance(v, bytes) else v.encode()) for k, v in EVENT_HEADERS
        ]
        response = await client.post("/", headers=headers, content=b"\x00\xff")
        assert (response.status_code, response.content) == (204, b"")
        assert broker.messages[0].data == b"\x00\xff"
        assert broker.messages[0].attributes["ce-subject"] == "documents/issues/ü"

    async def test_large_batch(self, client, broker):
        """A batch large enough to be judged in a thread arrives whole and in order."""
        event = {"specversion": "1.0", "type": "t", "source": "/s", "data": "x" * 100}
        batch = json.dumps([event | {"id": str(n)} for n in range(1_000)])
        assert len(batch) > publisher.post.INLINE_BYTES
        headers = {"content-type": "application/cloudevents-batch+json"}
        response = await client.post("/", content=batch, headers=headers)
        assert response.status_code == 204
        assert [m.attributes["ce-id"] for m in broker.messages] == [str(n) for n in range(1_000)]

    async def test_small_and_large_bodies(self, client, monkeypatch):
        """A large body is judged beside the event loop, a small one in it."""
        threads = []

        def judge(*arguments):
            threads.append(threading.current_thread() is threading.main_thread())
            return real(*arguments)

        real = publisher.intake.judge
        monkeypatch.setattr(publisher.intake, "judge", judge)
        await client.post("/", json=ISSUE)
        await client.post("/", json=ISSUE | {"x": "x" * publisher.post.INLINE_BYTES})
        assert threads == [True, False]

    async def test_large_bodies_one_at_a_time(self, client, monkeypatch):
        """Large bodies that come together are judged one after the other, and all are."""
        judging, most = 0, 0
        lock = threading.Lock()
        second = threading.Event()

        def judge(*arguments):
            nonlocal judging, most
            with lock:
                judging += 1
                most = max(most, judging)
                if judging > 1:
                    second.set()
            second.wait(0.1)  # time for another to come in
            try:
                return real(*arguments)
            finally:
                with lock:
                    judging -= 1

        real = publisher.intake.judge
        monkeypatch.setattr(publisher.intake, "judge", judge)
        large = ISSUE | {"x": "x" * publisher.post.INLINE_BYTES}
        responses = await asyncio.gather(*(client.post("/", json=large) for _ in range(4)))
        assert [response.status_code for response in responses] == [200] * 4
        assert most == 1

    async def test_numbers_let_others_through(self, client, broker):
        """While nine megabytes of numbers are judged, the event loop goes on."""
        body = b'{"a":[' + b"1," * 4_000_000 + b"1]}"
        posting = asyncio.create_task(client.post("/", content=body))
        beats = []
        while not posting.done():
            beats.append(time.perf_counter())
            await asyncio.sleep(0.001)
        assert posting.result().status_code == 200
        gaps = [after - before for before, after in pairwise(beats)]
        # A scanner that held on to the interpreter would be a gap of more than half of the time.
        assert max(gaps) < (beats[-1] - beats[0]) / 3
        assert broker.messages[0].data == body

    async def test_answers_after_the_ack(self, client, broker):
        """No answer is given before the broker has the message."""
        broker.open.clear()
        request = asyncio.create_task(client.post("/", json=ISSUE))
        await asyncio.wait_for(broker.begun.wait(), 10)
        assert not request.done()
        broker.open.set()
        assert (await request).status_code == 200

    @pytest.mark.parametrize("headers", [[], EVENT_HEADERS[:4]])
    async def test_broker_refuses(self, client, broker, headers, caplog):
        """A broker that refuses is a 503 with Retry-After; the reason is logged, not told."""
        broker.refuses = "PermissionDenied: secret-topic"
        response = await client.post("/", json=ISSUE, headers=headers)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "5"
        assert list(response.json()) == ["error"]
        assert "secret-topic" not in response.text
        assert "not published: PermissionDenied: secret-topic" in caplog.text

    async def test_bad_request(self, client, broker, caplog):
        """A refused request says why, publishes nothing and is logged."""
        caplog.set_level(logging.WARNING, "publisher")
        response = await client.post("/", content=b"[]")
        assert (response.status_code, response.json()) == (
            400,
            {"error": "body: is not a JSON object"},
        )
        assert broker.messages == []
        assert "refused 400: body: is not a JSON object" in caplog.text

    async def test_many_problems(self, client, caplog):
        """A body of bad events makes neither the answer nor the log long."""
        caplog.set_level(logging.WARNING, "publisher")
        headers = {"content-type": "application/cloudevents-batch+json"}
        body = b"[" + b"{}," * 100_000 + b"{}]"
        response = await client.post("/", content=body, headers=headers)
        assert response.status_code == 400
        assert len(response.content) < 2_500
        assert len(caplog.text) < 2_500

    async def test_hostile_names(self, client):
        """Half a surrogate pair in a name is told about, not stumbled over."""
        headers = {"content-type": "application/cloudevents+json"}
        response = await client.post("/", content=b'{"\\ud800": 1}', headers=headers)
        assert response.status_code == 400
        assert r"\ud800" in response.json()["error"]

    async def test_empty(self, client):
        """An empty request is told so."""
        response = await client.post("/")
        assert (response.status_code, response.json()) == (400, {"error": "Empty request"})

    async def test_wrong_type(self, client):
        """A content type that is not taken is a 415."""
        headers = {"content-type": "text/plain"}
        response = await client.post("/", content=b"{}", headers=headers)
        assert (response.status_code, list(response.json())) == (415, ["error"])


class TestBodyLimit:
    async def test_largest(self, client, broker):
        """A body of exactly the limit is taken."""
        body = b'{"a":"' + b"x" * (LIMIT - 8) + b'"}'
        assert (await client.post("/", content=body)).status_code == 200
        assert broker.messages[0].data == body

    async def test_one_more(self, client, broker):
        """One byte more is a 413, though it is counted only as it streams in."""

        async def chunks():
            yield b'{"a":"' + b"x" * (LIMIT - 8)
            yield b'"} '

        response = await client.post("/", content=chunks())
        assert (response.status_code, list(response.json())) == (413, ["error"])
        assert response.headers["connection"] == "close"
        assert broker.messages == []

    async def test_endless(self, app):
        """A body without end is read so far and no further."""
        read = 0

        async def receive():
            nonlocal read
            read += 1_000_000
            return {"type": "http.request", "body": b"x" * 1_000_000, "more_body": True}

        assert await self.call(app, receive, []) == 413
        assert LIMIT < read <= DRAIN_BYTES + 1_000_000

    @pytest.mark.parametrize(
        "headers",
        [
            [(b"content-length", b"%d" % (DRAIN_BYTES + 1))],
            [(b"content-length", b"%d" % (LIMIT + 1)), (b"expect", b"100-Continue")],
        ],
    )
    async def test_declared(self, app, headers):
        """A size that is declared too large is answered before a byte is read."""

        async def receive():
            pytest.fail("the body was read")

        assert await self.call(app, receive, headers) == 413

    async def test_slow(self, lifespan):
        """A body that does not come is waited for so long and no longer."""
        settings = Settings("demo-project", body_deadline=0.05)
        app = create_app(lambda: settings, lambda *_: MemoryBroker())
        async with lifespan(app):
            assert await self.call(app, asyncio.Event().wait, []) == 408

    async def test_sender_gone(self, app, broker):
        """A sender that goes before its body is whole leaves nothing on the topic."""
        parts = [
            {"type": "http.request", "body": b'{"a":1}', "more_body": True},
            {"type": "http.disconnect"},
        ]

        async def receive():
            return parts.pop(0)

        assert await self.call(app, receive, []) is None
        assert broker.messages == []

    @staticmethod
    async def call(app, receive, headers):
        """The status that a raw ASGI request is answered with; None for no answer."""
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "headers": headers,
        }
        sent = []

        async def send(message):
            sent.append(message)

        async with asyncio.timeout(20):
            await app(scope, receive, send)
        return sent[0]["status"] if sent else None


class TestRoutes:
    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
    async def test_other_methods(self, client, method):
        """The page and POST are served at the root, nothing else."""
        response = await client.request(method, "/")
        assert response.status_code == 405
        assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
        assert response.json() == {"error": "Method Not Allowed"}

    @pytest.mark.parametrize("path", ["/x", "/live/", "/functions/projects/p/triggers/t"])
    async def test_other_paths(self, client, path):
        """Any other path is a 404, as JSON."""
        response = await client.post(path, json=ISSUE)
        assert (response.status_code, response.json()) == (404, {"error": "Not Found"})

    async def test_live(self, client, broker):
        """Alive, whatever the broker says, and without asking it."""
        broker.topic_exists = False
        response = await client.get("/live")
        assert (response.status_code, response.json()) == (200, {"status": "live"})
        assert broker.checks == 0

    async def test_ready(self, client):
        """Ready while the topic has a subscription."""
        response = await client.get("/ready")
        assert (response.status_code, response.json()) == (200, {"status": "ready"})

    async def test_not_ready(self, client, broker):
        """Not ready is a 503 with the reason."""
        broker.subscribed = False
        response = await client.get("/ready")
        assert (response.status_code, response.json()) == (503, {"error": "has no subscription"})
        assert "retry-after" in response.headers

    async def test_unforeseen(self, app, broker):
        """An unforeseen error is a 500 without its text."""
        broker.messages = None
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://p") as client:
            response = await client.post("/", json=ISSUE)
        assert (response.status_code, response.json()) == (500, {"error": "internal error"})


class TestLife:
    async def test_wrong_settings(self, lifespan):
        """Wrong settings end the start with a sentence."""
        app = create_app(lambda: read_settings({}, lambda: ""), lambda *_: MemoryBroker())
        async with lifespan(app) as start:
            assert start["type"] == "lifespan.startup.failed"
            assert start["message"].startswith("GOOGLE_CLOUD_PROJECT: is not set")

    async def test_no_credentials(self, lifespan):
        """A broker that can't be opened ends the start with a sentence."""

        def broker(*_):
            raise ProblemsFound([Problem("credentials", "there are none")])

        async with lifespan(create_app(lambda: Settings("demo-project"), broker)) as start:
            assert start == {
                "type": "lifespan.startup.failed",
                "message": "credentials: there are none",
            }

    def test_import(self):
        """Importing the service opens no connection, reads no setting, and loads no Beam."""
        code = (
            "import socket, sys\n"
            "socket.socket.connect = socket.getaddrinfo = None\n"
            "import publisher.main\n"
            "bad = ('apache_beam', 'google.cloud.bigquery', 'google.events', 'pandas')\n"
            "sys.exit(' '.join(name for name in bad if name in sys.modules) or 0)\n"
        )
        environ = {"PATH": os.environ["PATH"], "PORT": "wrong"}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environ,
            timeout=60,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
