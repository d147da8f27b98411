"""Where Beam's Java sink comes from: a service that runs, a jar, or Beam's own download.

At launch the sink is turned into Java's steps by an expansion service. Its Beam must be Python's:
both halves of a graph are read by the same runner.
"""

import re
import shutil
import urllib.request
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.transforms.external import (
    ExternalTransform,
    JavaJarExpansionService,
)
from apache_beam.utils.subprocess_server import JavaHelper, JavaJarServer

from pipeline.beam_flags import beam_options
from pipeline.options import Settings
from schemas.problem import Problem, ProblemsFound

BUILT_JAR = Path(__file__).resolve().parents[1] / "build" / "expansion" / "expansion.jar"
"""What `make expansion` builds; not there where the package is installed."""

BEAM_SERVICE = "sdks:java:io:google-cloud-platform:expansion-service:build"
"""Beam's own name of the service, for its `--beam_services`."""

_OPTION = "--expansion_service"
_ADDRESS = re.compile(r"[A-Za-z0-9.-]+:[0-9]{1,5}")
# With the questions of the preflight, 10 s in all.
_ANSWER_SECONDS = 2.0
_DOWNLOAD_SECONDS = 8.0
_STEPS_SECONDS = 15.0
# Beam's core has it in every jar that contains it, Beam's own and ours.
_PROPERTIES = "org/apache/beam/sdk/sdk.properties"
_VERSION = re.compile(rb"(?m)^version=(\S+)$")


@dataclass(frozen=True)
class Running:
    """An expansion service that runs already; Beam's own calls of it would wait for ever.

    Equal to another of the same address: Beam keeps by it what a service has told.

    Args:
        address: `host:port`.
        seconds: That each call is given.
    """

    address: str
    seconds: float = _STEPS_SECONDS
    _open: ExitStack = field(default_factory=ExitStack, init=False, repr=False, compare=False)

    def __enter__(self) -> Any:
        """Its stub, as Beam expects it."""
        stub: Any = self._open.enter_context(ExternalTransform.service(self.address))
        for call in ("DiscoverSchemaTransform", "Expand"):
            setattr(stub, call, partial(getattr(stub, call), timeout=self.seconds))
        return stub

    def __exit__(self, *_: object) -> None:
        """Closes its connection."""
        self._open.close()


def expansion_service(settings: Settings) -> Running | JavaJarExpansionService | None:
    """What Beam's sink is to be given: what runs, a jar to start, or None for Beam's own choice.

    Beam's own choice is what `--beam_services` names, else its download.

    Raises:
        ProblemsFound: It is to be downloaded, and cannot be reached.
    """
    place = _place(settings)
    if not place:
        if not _named_to_beam(settings):
            _check_download()
        return None
    return Running(place) if _ADDRESS.fullmatch(place) else JavaJarExpansionService(place)


def expansion_problems(settings: Settings) -> list[Problem]:
    """What stands against it, found before anything starts.

    A download is not tried here: `expansion_service` does, when it is needed.
    """
    place = _place(settings)
    if not place:
        return []
    if _ADDRESS.fullmatch(place):
        return _address_problems(place)
    where = f"{_OPTION} {place}" if settings.expansion_service else place
    return _jar_problems(where, Path(place)) or _java_problems()


def _place(settings: Settings) -> str:
    """The jar or address; '' leaves it to Beam."""
    if settings.expansion_service:
        return settings.expansion_service
    if _named_to_beam(settings) or not BUILT_JAR.is_file():
        return ""
    return str(BUILT_JAR)


def _named_to_beam(settings: Settings) -> bool:
    # Not by PipelineOptions, which ends the process where a flag's value is wrong.
    return BEAM_SERVICE in (beam_options(settings.beam_args).beam_services or {})


def _check_download() -> None:
    """Asks for Beam's own jar where Beam will, with the deadline that Beam lacks."""
    url = str(JavaJarServer.path_to_beam_jar(BEAM_SERVICE))
    if Path(url).exists() or Path(JavaJarServer.JAR_CACHE, url.rpartition("/")[2]).exists():
        return
    mirror = url.replace(
        JavaJarServer.MAVEN_CENTRAL_REPOSITORY, JavaJarServer.GOOGLE_MAVEN_MIRROR, 1
    )
    why: OSError | None = None
    for place in (url, mirror):
        asked = urllib.request.Request(place, method="HEAD")  # noqa: S310 - Beam's own addresses
        try:
            with urllib.request.urlopen(asked, timeout=_DOWNLOAD_SECONDS):  # noqa: S310
                return
        except OSError as error:
            why = why or error
    raise ProblemsFound(
        [
            Problem(
                "Beam's Java sink",
                f"cannot be downloaded: {url}: {why}",
                f"build it (make expansion), or give {_OPTION}",
            )
        ]
    )


def _address_problems(address: str) -> list[Problem]:
    """Connects as Beam would; without a deadline of ours it would wait for minutes."""
    try:
        with ExternalTransform.service(address) as service:
            service.ready(_ANSWER_SECONDS)
    except grpc.FutureTimeoutError:
        return [
            Problem(
                f"{_OPTION} {address}",
                f"no expansion service answers there within {_ANSWER_SECONDS:.0f} s",
                "start one on this machine, or leave the option out",
            )
        ]
    return []


def _jar_problems(where: str, jar: Path) -> list[Problem]:
    remedy = "build it: make expansion"
    if not jar.is_file():
        return [Problem(where, "is no file, and no HOST:PORT", remedy)]
    version = beam_version_of(jar)
    if version is None:
        return [Problem(where, "is no jar with Beam's Java SDK", remedy)]
    if version != beam.__version__:
        what = f"is of Beam {version}, and Python's Beam is {beam.__version__}"
        return [Problem(where, what, remedy)]
    return []


def beam_version_of(jar: Path) -> str | None:
    """The version of the Beam that a jar contains; None where it is no jar, or contains none."""
    try:
        with zipfile.ZipFile(jar) as archive:
            found = _VERSION.search(archive.read(_PROPERTIES))
    except (OSError, KeyError, zipfile.BadZipFile):
        return None
    return found[1].decode() if found else None


def _java_problems() -> list[Problem]:
    java: Any = JavaHelper.get_java()
    if shutil.which(java):
        return []
    return [
        Problem(
            java,
            "is not there, and Beam's BigQuery sink is a Java program",
            "apt-get install default-jre-headless, or set JAVA_HOME",
        )
    ]
