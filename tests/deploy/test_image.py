"""The publisher's image, without a container engine: its COPY and RUN lines carried out in folders.

What then runs is the command of its last line, by a Python that sees nothing but the standard
library and that folder, and as the user that it names where the test may do that.
"""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from local.emulators import PUBSUB_EMULATOR_HOST, find
from local.ports import listens, wait_until
from local.pull import pull
from schemas import live
from schemas.recorded import from_line
from tests.deploy.image import ROOT, built, copied, kept, stages

pytestmark = pytest.mark.emulators

DOCKERFILE = ROOT / "Dockerfile"
RECORDED = ROOT / "tests/data/firestore_events.jsonl"
SECONDS = 30.0
MAX_BYTES = 100_000_000
# A quiet machine takes a second; this is for one that is busy with other tests.
START_SECONDS = 15.0
PROJECT = "demo-project"


def run(image, words):
    """A module of the builder's Python."""
    assert words[:2] == ["python", "-m"], f"RUN {words}: is not carried out here"
    if words[2:4] == ["pip", "uninstall"]:
        return  # of the base's own
    words = [str(image.inside(one)) if one.startswith("/") else one for one in words]
    # What was downloaded before is as good here.
    words = [sys.executable, *(one for one in words[1:] if one != "--no-cache-dir")]
    done = subprocess.run(
        words, cwd=image.workdir, timeout=170, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def image():
    """The image, built once. Not in pytest's own folder, which only its owner may enter."""
    root = Path(tempfile.mkdtemp(prefix="image-"))
    try:
        root.chmod(0o755)
        yield built(DOCKERFILE, root, run)[""]
    finally:
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    """host:port of a Pub/Sub emulator."""
    found = find()
    if found.pubsub:
        yield found.pubsub
        return
    port = free_port()
    with (tmp_path_factory.mktemp("pubsub") / "log").open("wb") as log:
        process = subprocess.Popen(found.pubsub_command(str(port)), stdout=log, stderr=log)
        try:
            assert wait_until(lambda: listens("127.0.0.1", port), time.monotonic() + SECONDS)
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait(10)


@pytest.fixture(scope="module")
def topic(emulator):
    """A topic with a subscription of the same name, and what it got since."""
    name = f"image-{os.getpid()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PUBSUB_EMULATOR_HOST, emulator)
        publisher, subscriber = live.publisher_client(), live.subscriber_client()
    path = f"projects/{PROJECT}/topics/{name}"
    publisher.create_topic(name=path, timeout=SECONDS, retry=None)
    request = {"name": f"projects/{PROJECT}/subscriptions/{name}", "topic": path}
    request["ack_deadline_seconds"] = 60
    subscriber.create_subscription(request=request, timeout=SECONDS, retry=None)

    def received(expected):
        got = []

        def enough():
            got.extend(pull(subscriber, PROJECT, name).messages)
            return len(got) >= expected

        assert wait_until(enough, time.monotonic() + SECONDS)
        return got

    return name, received


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def base_python():
    """A Python that has nothing installed: -S leaves its site-packages out."""
    return [sys._base_executable, "-S"]


def who(image):
    """The image's user, where the test may become it and it may run this Python."""
    python = Path(sys._base_executable).resolve()
    if os.geteuid() != 0 or not all(
        one.stat().st_mode & 0o001 for one in (python, *python.parents)
    ):
        return {}
    user, group = (int(number) for number in image.user.split(":"))
    return {"user": user, "group": group, "extra_groups": []}


class Service:
    """The service of the image, in a process."""

    def __init__(self, port):
        self.port = port

    def ask(self, method, path, headers=(), body=b""):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def lives(self):
        try:
            return self.ask("GET", "/live")[0] == 200
        except OSError:
            return False


@contextmanager
def running(image, tmp_path, topic, emulator, **environ):
    """The service, alive; ended by SIGTERM, and then it has ended well."""
    port = free_port()
    log = tmp_path / "log"
    with log.open("wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            [*base_python(), *image.command[1:]],
            cwd=image.workdir,
            env={
                **image.env,
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "GOOGLE_CLOUD_PROJECT": PROJECT,
                "ISSUES_TOPIC": topic,
                "PUBSUB_EMULATOR_HOST": emulator,
                **environ,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            **who(image),
        )
    service = Service(port)
    try:
        while not service.lives():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < started + SECONDS, log.read_text()
            time.sleep(0.01)
        service.start_seconds = time.monotonic() - started
        yield service
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def files(image):
    """Each file's place, size, time of change and mode."""
    return {
        path.relative_to(image.root): (s.st_size, s.st_mtime_ns, s.st_mode)
        for path in image.root.rglob("*")
        for s in [path.stat()]
    }


def recorded():
    """A Firestore event as it is sent: headers and body."""
    message = from_line(RECORDED.read_text("utf-8").splitlines()[0])
    names = [name for name in message.attributes if name.startswith("ce-")]
    headers = [(name, message.attributes[name]) for name in (*names, "content-type")]
    return headers, message.data


class TestDockerfile:
    def test_stages(self):
        """Two stages of the same pinned slim base: pip and what it makes, and what runs."""
        builder, final = stages(DOCKERFILE)
        assert builder.base == final.base
        assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", final.base)
        runs = [rest for word, rest in final.instructions if word == "RUN"]
        assert len(runs) == 1
        assert runs[0].startswith("python -m pip uninstall")

    def test_ignored(self):
        """What the engine is given is what the first stage copies."""
        out, back_in = kept(ROOT / ".dockerignore")
        assert back_in == {source.split("/")[0] for source in copied(DOCKERFILE)}
        assert out == ["*", "**/__pycache__", "**/*.pyc"]


class TestImage:
    def test_user(self, image):
        """It runs as a user by number, who is not root, by a command that is no shell's."""
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", image.user)
        assert image.command == ["python", "-m", "publisher"]

    def test_size(self, image):
        """Without its base it is below 100 MB, blocks counted."""
        sizes = {}
        for path in image.root.rglob("*"):
            if path.is_file() and image.workdir in path.parents:
                top = "/".join(path.relative_to(image.workdir).parts[:2])
                sizes[top] = sizes.get(top, 0) + path.stat().st_blocks * 512
        total = sum(sizes.values())
        largest = sorted(sizes, key=sizes.get, reverse=True)[:8]
        report = "\n".join(f"{sizes[top] / 1e6:6.1f} {top}" for top in largest)
        print(f"\n{total / 1e6:6.1f} MB\n{report}")  # noqa: T201  # `pytest -s` shows it
        assert 20_000_000 < total < MAX_BYTES, report

    def test_versions(self, image):
        """Every package in it, also one that is listed nowhere, has constraints.txt's version."""
        lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
        pinned = {canonicalize_name(one.name): str(one.specifier) for one in pins}
        installed = {}
        for folder in image.inside("/app/lib").glob("*.dist-info"):
            name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
            installed[canonicalize_name(name)] = f"=={version}"
        assert {"starlette", "grpcio", "cryptography"} <= set(installed)
        assert installed == {name: pinned[name] for name in installed}
        assert [name for name in installed if "beam" in name or "bigquery" in name] == []

    def test_everything_is_in_it(self, image):
        """All modules of the publisher load, from the folder and the standard library alone."""
        code = """
import pathlib, sys, importlib
for path in sorted(pathlib.Path("publisher").resolve().glob("*.py")):
    if path.stem != "__main__":
        importlib.import_module(f"publisher.{path.stem}".removesuffix(".__init__"))
import publisher.__main__
for module in list(sys.modules.values()):
    print(getattr(module, "__file__", None) or "")
"""
        done = subprocess.run(
            [*base_python(), "-c", code],
            cwd=image.workdir, env=image.env, capture_output=True, text=True, timeout=60,
            check=True, **who(image),
        )  # fmt: skip
        places = {line for line in done.stdout.splitlines() if line}
        library = str(Path(os.__file__).parent)
        strangers = [
            place
            for place in places
            if not place.startswith(str(image.root))
            and (not place.startswith(library) or "-packages" in place)
        ]
        assert strangers == []
        assert any(place.startswith(str(image.inside("/app/lib"))) for place in places)

    def test_runs(self, image, tmp_path, topic, emulator):
        """It serves, takes issues and events, ends on SIGTERM, and writes nothing to its folder."""
        name, received = topic
        before = files(image)
        headers, data = recorded()
        with running(image, tmp_path, name, emulator, LOG_FORMAT="json") as service:
            print(f"\n/live after {service.start_seconds:.2f} s")  # noqa: T201  # as above
            assert service.start_seconds < START_SECONDS
            status, page = service.ask("GET", "/")
            assert status == 200
            assert b"<form" in page
            (sheet,) = set(re.findall(rb'href="(/web/[^"]+\.css)"', page))
            assert service.ask("GET", sheet.decode())[0] == 200
            assert service.ask("GET", "/openapi.json")[0] == 200
            assert service.ask("GET", "/ready")[0] == 200
            issue = b'{"issue": "Test", "priority": "P1"}'
            status, answer = service.ask("POST", "/", [("Content-Type", "application/json")], issue)
            assert (status, json.loads(answer)["status"]) == (200, "created")
            assert service.ask("POST", "/", headers, data) == (204, b"")
        got = received(2)
        assert sorted(message.data for message in got) == sorted([issue, data])
        assert files(image) == before
        for line in (tmp_path / "log").read_text().splitlines():
            assert json.loads(line)["message"]

    def test_flat(self, image, tmp_path, topic, emulator):
        """It writes flat messages too: the protobuf decoder is in it."""
        name, received = topic
        headers, data = recorded()
        with running(image, tmp_path, name, emulator, MESSAGE_FORMAT="flat") as service:
            assert service.ask("POST", "/", headers, data) == (204, b"")
        (message,) = (one for one in received(1) if one.data != data)
        flat = json.loads(message.data)
        assert list(flat) == ["issue_id", "source", "created_at", "payload"]
        assert flat["source"] == "firestore-eventarc"

    def test_no_broker(self, image, tmp_path, topic):
        """Without a broker a message is answered with 503, and nothing else breaks."""
        nowhere = f"127.0.0.1:{free_port()}"
        late = {"PUBLISH_DEADLINE_SECONDS": "0.3"}
        with running(image, tmp_path, topic[0], nowhere, **late) as service:
            json_type = [("Content-Type", "application/json")]
            assert service.ask("POST", "/", json_type, b'{"issue": "Test"}')[0] == 503
            assert service.ask("GET", "/ready")[0] == 503
            assert service.ask("GET", "/live")[0] == 200
