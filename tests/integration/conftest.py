"""Emulators for the tests that need them: started on free ports, stopped at the end."""

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

START_SECONDS = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def sdk_root():
    """Where the Google Cloud SDK is: beside its gcloud, else where gcloud says."""
    gcloud = shutil.which("gcloud") or pytest.fail(
        "gcloud is missing: install the Google Cloud SDK"
    )
    beside = Path(gcloud).resolve().parents[1]
    if (beside / "platform").is_dir():
        return beside
    said = subprocess.run(
        [gcloud, "info", "--format=value(installation.sdk_root)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return Path(said.stdout.strip())


@pytest.fixture(scope="session")
def pubsub_emulator(tmp_path_factory):
    """A running Pub/Sub emulator; yields host:port."""
    jars = sorted(sdk_root().glob("platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"))
    if not jars:
        pytest.fail("the Pub/Sub emulator is missing: gcloud components install pubsub-emulator")
    java = shutil.which("java") or pytest.fail("java is missing: install a Java runtime")
    address = f"127.0.0.1:{free_port()}"
    log = tmp_path_factory.mktemp("pubsub") / "emulator.log"
    port = address.rpartition(":")[2]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [java, "-jar", str(jars[-1]), "--host=127.0.0.1", f"--port={port}"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(f"http://{address}/"):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the Pub/Sub emulator did not start:\n{log.read_text()}")
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False
