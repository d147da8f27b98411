"""Where Google's emulators and Java are on this machine, and what to do where they are not."""

import os
import re
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from local.ports import HOST, listens, split
from schemas.problem import Problem, ProblemsFound

PUBSUB_EMULATOR_HOST = "PUBSUB_EMULATOR_HOST"
FIRESTORE_EMULATOR_HOST = "FIRESTORE_EMULATOR_HOST"

_PUBSUB_JAR = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"
_FIRESTORE_JAR = "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"
# The jar names no main class; the SDK's own script starts this one.
_FIRESTORE_CLASS = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
# What the Firestore emulator of SDK 528 is compiled for. Where a newer one wants more, its log
# says so (UnsupportedClassVersionError), and a failed start shows the end of the log.
_MIN_JAVA = 11
_GCLOUD_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Emulators:
    """What was found: either a running emulator's address or what is needed to start one.

    Args:
        java: The Java command; empty where nothing needs it.
        pubsub_jar: The Pub/Sub emulator; None where a running one is used.
        firestore_jar: The Firestore emulator; None where a running one is used.
        pubsub: `host:port` of a running Pub/Sub emulator, or empty.
        firestore: `host:port` of a running Firestore emulator, or empty.
    """

    java: str
    pubsub_jar: Path | None
    firestore_jar: Path | None
    pubsub: str = ""
    firestore: str = ""

    def pubsub_command(self, port: str) -> list[str]:
        """Starts the Pub/Sub emulator: java itself, since a script's java would outlive it."""
        return [self.java, "-jar", str(self.pubsub_jar), f"--host={HOST}", f"--port={port}"]

    def firestore_command(self, port: str, functions: str) -> list[str]:
        """Starts the Firestore emulator, which posts its events to `functions` (host:port)."""
        return [
            self.java,
            "-Duser.language=en",
            "-cp",
            str(self.firestore_jar),
            _FIRESTORE_CLASS,
            "--host",
            HOST,
            "--port",
            port,
            f"--functions_emulator={functions}",
        ]


def find(stale: Collection[str] = (), *, own: bool = False) -> Emulators:
    """Looks for running emulators (by environment), then for what can start them.

    Args:
        stale: Addresses that an earlier stack exported: a shell that sourced them may have them
            still, and that nothing listens there is then no problem.
        own: Whether emulators that run already are not wanted.

    Raises:
        ProblemsFound: Everything that is missing, each with what to install and how.
    """
    problems: list[Problem] = []
    pubsub = firestore = ""
    if not own:
        pubsub = _running(PUBSUB_EMULATOR_HOST, stale, problems)
        firestore = _running(FIRESTORE_EMULATOR_HOST, stale, problems)
    needs_pubsub, needs_firestore = not pubsub, not firestore
    java, root = "", None
    if needs_pubsub or needs_firestore:
        java = _java(problems)
        root = sdk_root()
        if root is None:
            problems.append(
                Problem(
                    "gcloud",
                    "is not on PATH, and the emulators are parts of the Google Cloud SDK",
                    "install the Google Cloud CLI as its documentation says",
                )
            )
    pubsub_jar = firestore_jar = None
    if root is not None:
        if needs_pubsub:
            pubsub_jar = _jar(root, _PUBSUB_JAR, "Pub/Sub", "pubsub-emulator", problems)
        if needs_firestore:
            firestore_jar = _jar(
                root, _FIRESTORE_JAR, "Firestore", "cloud-firestore-emulator", problems
            )
    if problems:
        raise ProblemsFound(problems)
    return Emulators(java, pubsub_jar, firestore_jar, pubsub, firestore)


def sdk_root() -> Path | None:
    """The Google Cloud SDK's folder; None without gcloud."""
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        return None
    # PATH mostly holds a link to ROOT/bin/gcloud; a package manager's wrapper has to be asked.
    root = Path(gcloud).resolve().parent.parent
    if (root / "platform").is_dir() or (root / "lib" / "googlecloudsdk").is_dir():
        return root
    answer = subprocess.run(
        [gcloud, "info", "--format=value(installation.sdk_root)"],
        capture_output=True,
        text=True,
        timeout=_GCLOUD_SECONDS,
        check=False,
    )
    told = Path(answer.stdout.strip())
    return told if answer.returncode == 0 and answer.stdout.strip() and told.is_dir() else None


def _running(variable: str, stale: Collection[str], problems: list[Problem]) -> str:
    """The address in the variable, if something listens there."""
    address = os.environ.get(variable, "").strip()
    if not address:
        return ""
    try:
        host, port = split(address)
    except ValueError as error:
        problems.append(Problem(variable, str(error)))
        return ""
    if not listens(host, port):
        if address in stale:
            return ""
        problems.append(
            Problem(variable, f"nothing listens at {address}", f"unset {variable} to start one")
        )
        return ""
    return address


def _java(problems: list[Problem]) -> str:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(str(Path(home) / "bin" / "java")) if home else shutil.which("java")
    remedy = "apt-get install default-jre-headless, or another Java of at least 11"
    if java is None:
        where = "JAVA_HOME has no bin/java" if home else "is not on PATH"
        problems.append(Problem("java", f"{where}; the emulators are Java programs", remedy))
        return ""
    answer = subprocess.run(
        [java, "-version"], capture_output=True, text=True, timeout=_GCLOUD_SECONDS, check=False
    )
    # `openjdk version "17.0.15"`; before Java 9 `java version "1.8.0_292"`. macOS has a
    # /usr/bin/java that only says that there is none.
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    if answer.returncode != 0 or match is None:
        problems.append(Problem("java", f"{java} -version fails", remedy))
    elif int(match[1]) < _MIN_JAVA:
        problems.append(Problem("java", f"{java} is version {match[1]}", remedy))
    return java


def _jar(
    root: Path, pattern: str, name: str, component: str, problems: list[Problem]
) -> Path | None:
    # By version number, not by text: 0.8.9 comes before 0.8.20.
    found = sorted(
        root.glob(pattern), key=lambda jar: [int(digits) for digits in re.findall(r"\d+", jar.name)]
    )
    if found:
        return found[-1]
    package = "google-cloud-cli-" + component.removeprefix("cloud-")
    problems.append(
        Problem(
            f"{name} emulator",
            f"is not in the Google Cloud SDK at {root}",
            f"apt-get install {package} where the SDK came from apt, "
            f"else gcloud components install {component}",
        )
    )
    return None
