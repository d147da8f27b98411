"""What the Flex Template's launcher runs: the job's own launch, with what the image brings.

Dataflow starts the template's image on a machine of its own, and its launcher there runs this with
the launch's parameters and fields as flags, `--template_location` among them: the graph is staged
and written there, and Dataflow itself makes the job of it.

Beam's Java sink is in the image as one jar of 164 MB, and in the Java workers' image at the same
place. So what is staged at a launch is a jar without content that names that one as its class path.
"""

import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from apache_beam.utils.subprocess_server import JavaHelper, pick_port

from pipeline import launch
from pipeline.beam_flags import beam_flags
from pipeline.engines import DATAFLOW
from pipeline.options import OPTIONS
from schemas.problem import Problem, ProblemsFound

_SERVICE_SECONDS = 90.0
"""For the expansion service to answer: a launcher has one core, unless it is told otherwise."""

_OF_THE_LAUNCHER = frozenset(
    (
        "--dump_heap_on_oom",
        "--save_heap_dumps_to_gcs_path",
        "--launcher_machine_type",
        "--enable_launcher_vm_serial_port_logging",
    )
)
"""Fields of a launch (FlexTemplateRuntimeEnvironment, in the reference of Dataflow's REST API) that
are about its own machine, or about Java's: Beam's Python has no flag for them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Image:
    """What the template's image says of itself.

    Args:
        python: Its own name, under which the Python workers get it; '' if it was built without.
        java: The name of the Java workers' image.
        jar: Beam's Java sink, here and in the Java workers' image.
    """

    python: str
    java: str
    jar: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Image":
        """As deploy/flex/Dockerfile sets it.

        Raises:
            KeyError: Where this is not that image.
        """
        return cls(environ["PYTHON_IMAGE"], environ["JAVA_IMAGE"], environ["EXPANSION_JAR"])


def main(argv: Sequence[str]) -> int:
    """Launches the job; returns the exit code, 0 when the graph is written."""
    image = Image.of(os.environ)
    args = launch_args(argv, image)
    try:
        with tempfile.TemporaryDirectory() as folder:
            pointer = Path(folder, "expansion.jar")
            write_pointer(pointer, image.jar)
            with expansion_service(image.jar, pointer) as address:
                return launch.main([*args, f"--expansion_service={address}"])
    except ProblemsFound as error:
        sys.stderr.write(f"{error}\n")
        return launch.REFUSED


def launch_args(argv: Sequence[str], image: Image) -> list[str]:
    """The launcher's flags as the job takes them.

    The launcher gives every parameter and field as `--name=value`, a switch of Beam's too. A field
    that is none of the job's is left out; what nobody knows is the job's to refuse.

    Args:
        argv: What the launcher gave.
        image: Whose workers the job has, unless the parameters name others.
    """
    args = []
    known = beam_flags() | {f"--{option.name}": not option.flag for option in OPTIONS}
    for arg in argv:
        name, separator, value = arg.partition("=")
        if name in _OF_THE_LAUNCHER:
            _log.warning("not taken, since it is about the launch and not about the job: %s", arg)
        elif separator and known.get(name) is False and value.lower() in ("true", "false"):
            args += [name] if value.lower() == "true" else []
        else:
            args.append(arg)
    given = {arg.partition("=")[0] for arg in args}
    defaults = {"--runner": DATAFLOW.runner}
    if image.python:
        defaults["--sdk_container_image"] = image.python
    if image.java:
        defaults["--sdk_harness_container_image_overrides"] = f".*beam_java.*,{image.java}"
    return [*args, *(f"{name}={value}" for name, value in defaults.items() if name not in given)]


def write_pointer(place: Path, jar: str) -> None:
    """Writes a jar that has nothing but another one on its class path.

    The JVM reads `Class-Path` of every jar on its own class path, entries being URLs (the JAR File
    Specification); a line of a manifest has 72 bytes at most, and goes on after a space.
    """
    line = f"Class-Path: {Path(jar).as_uri()}"
    lines = [line[:70], *(f" {line[n : n + 69]}" for n in range(70, len(line), 69))]
    manifest = "\r\n".join(["Manifest-Version: 1.0", *lines, "", ""])
    with zipfile.ZipFile(place, "w") as archive:
        # With a fixed time: the same bytes at each launch, so that Beam stages them under one name.
        archive.writestr(zipfile.ZipInfo("META-INF/MANIFEST.MF"), manifest)


@contextmanager
def expansion_service(jar: str, staged: Path) -> Iterator[str]:
    """Runs Beam's expansion service of a jar; gives its address.

    Args:
        jar: Beam's Java sink.
        staged: What the Java workers get as their class path in place of it.

    Raises:
        ProblemsFound: When it does not answer.
    """
    (port,) = pick_port(None)
    command = [JavaHelper.get_java(), "-jar", jar, str(port), f"--filesToStage={staged}"]
    with tempfile.TemporaryFile("w+") as log:  # a hundred lines, of use only when it fails
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603
        try:
            deadline = time.monotonic() + _SERVICE_SECONDS
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    what = f"does not answer, exit code {process.poll()}: {log.read()[-1_000:]}"
                    raise ProblemsFound([Problem(f"expansion service {jar}", what.strip())])
                time.sleep(0.1)
            yield f"localhost:{port}"
        finally:
            process.kill()
            process.wait(10)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("localhost", port), 1).close()
    except OSError:
        return False
    return True
