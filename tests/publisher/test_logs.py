"""One record is one line, with the trace of its request, and nothing that is secret."""

import asyncio
import contextvars
import http.client
import json
import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from publisher.keys import new_key
from publisher.logs import MAX_CHARACTERS, Trace, configure, traced, use_trace

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
log = logging.getLogger("publisher")


@pytest.fixture(autouse=True)
def restored():
    """The loggers of the test run are as before."""
    names = ("publisher", "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in names)]
    before = [(one, one.handlers[:], one.level, one.propagate) for one in loggers]
    yield
    for one, handlers, level, propagate in before:
        one.handlers[:] = handlers
        one.setLevel(level)
        one.propagate = propagate


@pytest.fixture
def written(capsys):
    """What was written to stdout since, as lines."""

    def lines():
        return capsys.readouterr().out.splitlines()

    return lines


def start(log_format="json"):
    configure(SimpleNamespace(project="demo-project", log_format=log_format))


def raises(text):
    raise ValueError(text)


class TestTraced:
    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            ([("traceparent", PARENT)], Trace(TRACE, SPAN, sampled=True)),
            ([("traceparent", PARENT[:-1] + "0")], Trace(TRACE, SPAN)),
            ([("traceparent", f"01-{TRACE}-{SPAN}-01-more")], Trace(TRACE, SPAN, sampled=True)),
            (
                [("x-cloud-trace-context", f"{TRACE.upper()}/255;o=1")],
                Trace(TRACE, "00000000000000ff", sampled=True),
            ),
            ([("x-cloud-trace-context", f"{TRACE}/{2**64 - 1}")], Trace(TRACE, "f" * 16)),
            ([("x-cloud-trace-context", f"{TRACE};o=0")], Trace(TRACE)),
            ([("x-cloud-trace-context", f"{TRACE}/0")], Trace(TRACE)),
            (
                [("x-cloud-trace-context", "f" * 32), ("traceparent", PARENT)],
                Trace(TRACE, SPAN, sampled=True),
            ),
            ([("traceparent", "nonsense"), ("x-cloud-trace-context", TRACE)], Trace(TRACE)),
        ],
    )
    def test_read(self, headers, expected):
        """W3C's header before Google's older one; the older one's span is decimal."""
        assert traced([(name.encode(), value.encode()) for name, value in headers]) == expected

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("traceparent", [f"ff-{TRACE}-{SPAN}-01"]),
            ("traceparent", [f"00-{TRACE}-{SPAN}-01-more"]),
            ("traceparent", [f"00-{'0' * 32}-{SPAN}-01"]),
            ("traceparent", [f"00-{TRACE}-{'0' * 16}-01"]),
            ("traceparent", [PARENT.upper()]),
            ("traceparent", [PARENT + "\n"]),
            ("traceparent", [PARENT, PARENT]),
            ("traceparent", [""]),
            ("x-cloud-trace-context", ["0" * 32]),
            ("x-cloud-trace-context", [TRACE[1:]]),
            ("x-cloud-trace-context", [f"{TRACE}/{2**64}"]),
            ("x-cloud-trace-context", [f"{TRACE}/{SPAN}"]),
            ("x-cloud-trace-context", [f'{TRACE}";']),
            ("other", [PARENT]),
        ],
    )  # fmt: skip
    def test_malformed(self, name, values):
        """What is malformed, or sent twice, is no trace and no error."""
        assert traced([(name.encode(), value.encode()) for value in values]) is None


class TestJson:
    def test_fields(self, written):
        """A record is one object in Cloud Logging's names, with the trace of its request."""
        start()
        before = time.time()

        def request():
            use_trace([(b"traceparent", PARENT.encode())])
            log.warning("refused %s", "ä")

        contextvars.copy_context().run(request)
        (line,) = written()
        entry = json.loads(line)
        place = entry.pop("logging.googleapis.com/sourceLocation")
        assert Path(place["file"]) == Path(__file__)
        assert place["line"].isdecimal()
        assert place["function"] == "request"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", entry["time"])
        written_at = datetime.fromisoformat(entry.pop("time")).timestamp()
        assert before - 0.001 <= written_at <= time.time()
        assert entry == {
            "severity": "WARNING",
            "message": "refused ä",
            "logger": "publisher",
            "logging.googleapis.com/trace": f"projects/demo-project/traces/{TRACE}",
            "logging.googleapis.com/spanId": SPAN,
            "logging.googleapis.com/trace_sampled": True,
        }

    def test_no_trace(self, written):
        """Outside a request there is no trace."""
        start()
        log.info("started")
        (line,) = written()
        assert [name for name in json.loads(line) if "trace" in name or "span" in name] == []

    def test_traceback(self, written):
        """A traceback is in the message, ends with the error, and is still one line."""
        start()
        try:
            raises("a\nb")
        except ValueError:
            log.exception("failed")
        (line,) = written()
        entry = json.loads(line)
        assert entry["severity"] == "ERROR"
        assert entry["message"].startswith("failed\nTraceback (most recent call last):\n")
        assert entry["message"].endswith("ValueError: a\nb")

    @pytest.mark.parametrize(
        ("level", "severity"),
        [
            (5, "DEBUG"),
            (20, "INFO"),
            (25, "INFO"),
            (30, "WARNING"),
            (40, "ERROR"),
            (99, "CRITICAL"),
        ],
    )
    def test_severity(self, written, level, severity):
        """A level between two is the lower one's severity."""
        start()
        log.setLevel(1)
        log.log(level, "x")
        assert [json.loads(line)["severity"] for line in written()] == [severity]

    def test_hostile(self, written):
        """Line breaks, quotes, control characters and half a surrogate pair make no second line."""
        start()
        text = 'a\n{"severity":"ERROR"}\r\u2028\u0085"\\\x1b[31m\ud800'
        log.warning("%s", text)
        (line,) = written()
        assert json.loads(line)["message"] == text
        assert line.isascii()

    def test_bounded(self, written):
        """A long message, and a long error, keep their start and their end."""
        start()
        try:
            raises("y" * 1_000_000 + "end")
        except ValueError:
            log.exception("start%s", "x" * 1_000_000)
        (line,) = written()
        message = json.loads(line)["message"]
        assert len(message) < 2 * MAX_CHARACTERS + 200
        assert message.startswith("startxxx")
        assert "characters left out" in message
        assert message.endswith("yyyend")

    def test_secret(self, written):
        """What looks like a signed token or a key is cut out, whoever logs it."""
        start()
        token = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2lnbmF0dXJl"
        logging.getLogger("some.library").warning("Bearer %s, eyJ, %s", token, new_key("x")[0])
        (line,) = written()
        assert json.loads(line)["message"] == "Bearer (a secret), eyJ, (a secret)"


class TestText:
    def test_line(self, written):
        """For people: a line, its trace behind it."""
        start("text")

        def request():
            use_trace([(b"traceparent", PARENT.encode())])
            log.warning("refused %s", "ä")

        contextvars.copy_context().run(request)
        (line,) = written()
        assert re.fullmatch(rf"\S+Z WARNING  publisher: refused ä \[{TRACE}\]", line)

    def test_hostile(self, written):
        """No text starts a line of its own: breaks are escapes, a traceback is set in."""
        start("text")
        try:
            raises("a\nforged\r\x1b[31m")
        except ValueError:
            log.exception("b\nforged\x85\u2028")
        first, *rest = written()
        assert first.endswith("publisher: b\\nforged\\x85\\u2028")
        assert all(line.startswith("    ") for line in rest)
        assert rest[-2:] == ["    ValueError: a", "    forged\\r\\x1b[31m"]


def test_contexts_are_apart(written):
    """Requests that run at the same time log with their own traces, in threads too."""
    start()

    async def request(number):
        use_trace([(b"x-cloud-trace-context", f"{number:032x}".encode())])
        await asyncio.sleep(0)
        log.warning("%d", number)
        await asyncio.to_thread(log.warning, "%d", number)

    async def serve():
        async with asyncio.TaskGroup() as group:
            for number in range(1, 6):
                group.create_task(request(number))

    asyncio.run(serve())
    entries = [json.loads(line) for line in written()]
    assert len(entries) == 10
    for entry in entries:
        trace = f"projects/demo-project/traces/{int(entry['message']):032x}"
        assert entry["logging.googleapis.com/trace"] == trace


def test_loggers(written):
    """Loggers of uvicorn write the same way, what it set up is undone, and twice is once."""
    server = logging.getLogger("uvicorn.error")
    server.addHandler(logging.StreamHandler(sys.stdout))
    server.propagate = False
    start()
    start()
    server.info("started")
    logging.getLogger("some.library").info("chatter")
    log.info("heard")
    assert [json.loads(line)["message"] for line in written()] == ["started", "heard"]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


SECRETS = {
    name: f"{name}-{secrets.token_hex(16)}"
    for name in ("body", "field", "wrong-key", "idempotency", "cookie", "query")
}


class TestRun:
    """The service in a process of its own, with everything that is secret sent to it."""

    def test_no_secret_is_logged(self, tmp_path):
        """No body, key or token is in the log of a real run, refused or not; every line is JSON."""
        port = free_port()
        key = subprocess.run(
            [sys.executable, "-m", "publisher", "key", "tester"],
            capture_output=True, text=True, timeout=30, check=True,
        ).stdout  # fmt: skip
        right = re.search(r"\S{30,}$", key, re.MULTILINE)
        entry = re.search(r"tester:[0-9a-f]{64}", key)
        assert right, key
        assert entry, key
        token = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJ4In0." + secrets.token_hex(16)
        out = tmp_path / "out"
        with out.open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "publisher"],
                env={
                    "PATH": os.environ["PATH"],
                    "GOOGLE_CLOUD_PROJECT": "demo-project",
                    "HOST": "127.0.0.1",
                    "PORT": str(port),
                    "AUTH": "on",
                    "API_KEYS": entry[0],
                    "EVENT_AUDIENCES": "https://publisher.example",
                    "EVENT_SERVICE_ACCOUNTS": "trigger@demo-project.iam.gserviceaccount.com",
                    "LOG_FORMAT": "json",
                    "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{free_port()}",
                    "PUBLISH_DEADLINE_SECONDS": "0.3",
                },
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self.wait(child, port, out)
            statuses = self.send(port, right[0], token)
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(20)
        logged = out.read_text()
        assert 503 in statuses, "a request with the right key goes as far as the broker"
        assert {400, 401} <= set(statuses)
        entries = [json.loads(line) for line in logged.splitlines()]
        assert any("not published" in entry["message"] for entry in entries)
        trace = f"projects/demo-project/traces/{TRACE}"
        assert any(entry.get("logging.googleapis.com/trace") == trace for entry in entries)
        for secret in (*SECRETS.values(), right[0], token, token[-32:]):
            assert secret not in logged

    @staticmethod
    def wait(child, port, out):
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                assert child.poll() is None, out.read_text()
                assert time.monotonic() < deadline, out.read_text()
                time.sleep(0.05)
            else:
                return

    def send(self, port, right, token):
        """Requests of every kind that end in every kind of answer; their statuses."""
        secret = SECRETS
        body = json.dumps({"issue": secret["body"]})
        json_type = {"Content-Type": "application/json"}
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        event = {
            "ce-specversion": "1.0",
            "ce-id": "1",
            "ce-source": "/s",
            "ce-type": "t",
            "Content-Type": "application/protobuf",
        }
        structured = {"Content-Type": "application/cloudevents+json"}
        bearer = {"Authorization": f"Bearer {token}"}
        with_key = {"X-API-Key": right}
        requests = [
            (json_type | with_key, body),
            (json_type | with_key, body[:-1]),
            (json_type | with_key, f'["{secret["body"]}"]'),
            (json_type | with_key, f'{{"data": "{secret["body"]}!"}}'),
            (json_type | with_key | {"Idempotency-Key": secret["idempotency"]}, body),
            (json_type | with_key | {"Idempotency-Key": secret["idempotency"] + "ü"}, body),
            (json_type | {"X-API-Key": secret["wrong-key"]}, body),
            (json_type | {"Authorization": f"Bearer {secret['wrong-key']}"}, body),
            (json_type | {"Authorization": f"Basic {secret['wrong-key']}"}, body),
            (json_type, body),
            (event | bearer, secret["body"]),
            (structured | bearer, secret["body"]),
            (structured | bearer | with_key, json.dumps({"data": secret["body"]})),
            (form, f"title={secret['field']}&api_key={secret['wrong-key']}"),
            (form, f"title={secret['field']}&priority={secret['field']}&api_key={right}"),
            ({"Content-Type": "text/plain"} | with_key, secret["body"]),
            (json_type | {"Cookie": secret["cookie"], "Origin": "https://evil.example"}, body),
        ]
        statuses = []
        for headers, data in requests:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            try:
                connection.request(
                    "POST",
                    f"/?key={secret['query']}",
                    data.encode(),
                    {
                        name: value.encode() for name, value in headers.items()
                    } | {"traceparent": PARENT},
                )  # fmt: skip
                statuses.append(connection.getresponse().status)
            finally:
                connection.close()
        return statuses
