"""Finding Java and Google's emulators, and saying what is missing."""

import os
import socket
import stat

import pytest

from local.emulators import Emulators, find, sdk_root
from local.ports import HOST
from schemas.problem import ProblemsFound

PUBSUB_JAR = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-0.8.20-all.jar"
FIRESTORE_JAR = "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with Java 17 and the Google Cloud SDK, gcloud linked from a folder on PATH."""
    path = tmp_path / "bin"
    path.mkdir()
    for name in (PUBSUB_JAR, FIRESTORE_JAR):
        (tmp_path / "sdk" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sdk" / name).touch()
    program(tmp_path / "sdk/bin/gcloud", "exit 1")
    (path / "gcloud").symlink_to(tmp_path / "sdk/bin/gcloud")
    program(path / "java", "echo 'openjdk version \"17.0.1\" 2025-01-01' >&2")
    monkeypatch.setenv("PATH", str(path))
    for name in ("JAVA_HOME", "PUBSUB_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def problems():
    with pytest.raises(ProblemsFound) as found:
        find()
    return [str(problem) for problem in found.value.problems]


def test_both_emulators_are_found_beside_gcloud(machine):
    """The SDK is where the link on PATH leads, and java runs the jars itself."""
    found = find()
    java = str(machine / "bin/java")
    jars = (machine / "sdk" / PUBSUB_JAR, machine / "sdk" / FIRESTORE_JAR)
    assert found == Emulators(java, *jars)
    assert found.pubsub_command("81")[:3] == [java, "-jar", str(jars[0])]
    assert found.firestore_command("82", "h:83")[0] == java
    assert "--functions_emulator=h:83" in found.firestore_command("82", "h:83")


def test_own_emulators(machine, monkeypatch):
    """Who wants emulators of its own gets what starts them, though others run already."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{other.getsockname()[1]}")
        assert find().pubsub
        assert find(own=True) == Emulators(
            str(machine / "bin/java"), machine / "sdk" / PUBSUB_JAR, machine / "sdk" / FIRESTORE_JAR
        )


def test_the_newest_pubsub_emulator_is_taken(machine):
    """Versions are compared as numbers."""
    for version in ("0.8.9", "0.8.100"):
        (machine / "sdk" / PUBSUB_JAR.replace("0.8.20", version)).touch()
    assert find().pubsub_jar.name == "cloud-pubsub-emulator-0.8.100-all.jar"


def test_a_wrapper_of_gcloud_is_asked(machine):
    """Where gcloud is not in the SDK's own folder, it says where that is."""
    (machine / "bin/gcloud").unlink()
    program(
        machine / "bin/gcloud",
        f'[ "$*" = "info --format=value(installation.sdk_root)" ] && echo {machine / "sdk"}',
    )
    assert sdk_root() == machine / "sdk"


def test_everything_that_is_missing_is_told_at_once(machine):
    """Without Java and both emulators there is one message for each, with how to get it."""
    (machine / "bin/java").unlink()
    for name in (PUBSUB_JAR, FIRESTORE_JAR):
        (machine / "sdk" / name).unlink()
    java, pubsub, firestore = problems()
    assert "apt-get install default-jre-headless" in java
    assert "google-cloud-cli-pubsub-emulator" in pubsub
    assert "gcloud components install pubsub-emulator" in pubsub
    assert "google-cloud-cli-firestore-emulator" in firestore
    assert "gcloud components install cloud-firestore-emulator" in firestore


def test_a_machine_without_gcloud_is_told_where_to_get_it(machine):
    """The emulators are parts of the SDK: without it, that is the one thing to install."""
    (machine / "bin/gcloud").unlink()
    (problem,) = problems()
    assert "install the Google Cloud CLI" in problem


@pytest.mark.parametrize(
    ("says", "words"),
    [("echo 'java version \"1.8.0_292\"' >&2", "version 8"), ("exit 1", "-version fails")],
)
def test_a_java_that_does_not_do_is_named(machine, says, words):
    """Java before 11, or a placeholder that runs nothing, is refused before anything starts."""
    program(machine / "bin/java", says)
    (problem,) = problems()
    assert words in problem


def test_running_emulators_are_used(machine, monkeypatch):
    """Addresses in the environment where something listens are used, and need no Java or SDK."""
    import socket

    (machine / "bin/java").unlink()
    (machine / "bin/gcloud").unlink()
    with socket.create_server((HOST, 0)) as server:
        address = f"{HOST}:{server.getsockname()[1]}"
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", address)
        found = find()
    assert (found.pubsub, found.firestore) == (address, address)
    assert (found.pubsub_jar, found.firestore_jar, found.java) == (None, None, "")


def test_an_address_where_nothing_listens_is_a_problem(machine, monkeypatch, unused_tcp_port):
    """An emulator that is named and not there is named, with what to do."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"{HOST}:{unused_tcp_port}")
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "nonsense")
    first, second = problems()
    assert "unset PUBSUB_EMULATOR_HOST" in first
    assert "FIRESTORE_EMULATOR_HOST: 'nonsense'" in second


def test_an_address_that_the_last_stack_exported_is_no_problem(
    machine, monkeypatch, unused_tcp_port
):
    """A shell that sourced the env of a stack that has ended starts another all the same."""
    address = f"{HOST}:{unused_tcp_port}"
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
    found = find(stale={address})
    assert found.pubsub == ""
    assert found.pubsub_jar is not None
    assert os.environ["PUBSUB_EMULATOR_HOST"] == address
