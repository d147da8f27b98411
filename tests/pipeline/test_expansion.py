"""Where Beam's Java sink comes from, and what is refused before anything starts."""

import json
import socket
import subprocess
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import apache_beam as beam
import grpc
import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions
from apache_beam.transforms.external import JavaJarExpansionService
from apache_beam.utils.subprocess_server import JavaJarServer

from pipeline import expansion
from pipeline.engines import DATAFLOW, DIRECT, objections
from pipeline.expansion import BEAM_SERVICE, Running, expansion_problems, expansion_service
from pipeline.launch import REFUSED, built, run_here
from pipeline.options import parse
from schemas.problem import ProblemsFound
from tests.pipeline.test_dataflow_graph import FLAGS, JAR, by_name

FILES = ["--project=demo-project", "--input_files=f", "--sink=storage_write"]
PROPERTIES = "org/apache/beam/sdk/sdk.properties"


def settings(*argv):
    return parse([*FILES, *argv], lambda: "")


def make_jar(path, version=beam.__version__):
    """A jar that says which Beam it has, and has nothing else of it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(PROPERTIES, f"# comment\n\nversion={version}\nsdk_version={version}\n")
    return path


def said(*argv):
    return [str(problem) for problem in expansion_problems(settings(*argv))]


@pytest.fixture(autouse=True)
def no_built_jar(tmp_path, monkeypatch):
    """As if `make expansion` had not run."""
    monkeypatch.setattr(expansion, "BUILT_JAR", tmp_path / "built.jar")
    return tmp_path / "built.jar"


@pytest.fixture
def download(tmp_path, monkeypatch):
    """Beam's places for its jars are on this machine, and empty."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setattr(JavaJarServer, "JAR_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(JavaJarServer, "MAVEN_CENTRAL_REPOSITORY", f"{nowhere}/central")
        monkeypatch.setattr(JavaJarServer, "GOOGLE_MAVEN_MIRROR", f"{nowhere}/mirror")
        monkeypatch.setattr(
            JavaJarServer,
            "path_to_beam_jar",
            lambda target: f"{nowhere}/central/{target.replace(':', '-')}.jar",
        )
        yield tmp_path / "cache"


def test_without_the_built_jar_it_is_beam_s_own(download):
    """What Beam has downloaded before is its own choice."""
    download.mkdir()
    (download / f"{BEAM_SERVICE.replace(':', '-')}.jar").touch()
    assert said() == []
    assert expansion_service(settings()) is None


def test_beam_s_own_comes_from_either_place(download, monkeypatch):
    """It is asked for first where Beam looks first, then where Beam looks next."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path.split("/")[1])
            self.send_response(404 if asked[-1] == "central" else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(JavaJarServer, "MAVEN_CENTRAL_REPOSITORY", f"{here}/central")
        monkeypatch.setattr(JavaJarServer, "GOOGLE_MAVEN_MIRROR", f"{here}/mirror")
        monkeypatch.setattr(JavaJarServer, "path_to_beam_jar", lambda _: f"{here}/central/x.jar")
        assert expansion_service(settings()) is None
        server.shutdown()
    assert asked == ["central", "mirror"]


def test_beam_s_own_cannot_be_reached(download):
    """A sentence that says what to do, not a trace."""
    with pytest.raises(ProblemsFound) as found:
        expansion_service(settings())
    [problem] = found.value.problems
    assert str(problem).startswith("Beam's Java sink: cannot be downloaded: http://127.0.0.1:")
    assert problem.remedy == "build it (make expansion), or give --expansion_service"


def refused(given, capsys):
    """The one sentence of a run on this machine that is not started."""
    assert run_here(given, DIRECT) == REFUSED
    [said] = capsys.readouterr().err.splitlines()
    return said


def test_nothing_is_started_without_it(download, capsys):
    """A run that lacks Beam's own jar ends as one that is refused."""
    assert refused(settings(), capsys).startswith("Beam's Java sink: cannot be downloaded: ")


def test_a_service_that_makes_no_steps(capsys):
    """What answers there is something else: its own words, and what to look at."""
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        said = refused(settings(f"--expansion_service=127.0.0.1:{port}"), capsys)
    finally:
        server.stop(0).wait(10)
    assert said == (
        "Beam's Java sink: its steps could not be made: Method not found! (look at the expansion "
        "service that --expansion_service names, or leave it out)"
    )


@contextmanager
def answering(answer):
    """The address of a gRPC service that takes every call."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, _):
            return grpc.unary_unary_rpc_method_handler(lambda *_: answer())

    server = grpc.server(ThreadPoolExecutor(1), handlers=(Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait(10)


def test_a_service_without_the_sink(capsys):
    """An expansion service of other steps."""
    with answering(lambda: b"") as address:
        said = refused(settings(f"--expansion_service={address}"), capsys)
    assert said.startswith(
        "Beam's Java sink: its steps could not be made: Did not discover any SchemaTransforms "
    )


def test_a_service_that_is_silent(monkeypatch, capsys):
    """It takes the connection and the call, and does not answer: given up in time."""
    monkeypatch.setattr(expansion, "Running", lambda address: Running(address, 1.0))
    asked, ended = threading.Event(), threading.Event()

    def never():
        asked.set()
        ended.wait(60)
        return b""

    with answering(never) as address:
        began = time.monotonic()
        said = refused(settings(f"--expansion_service={address}"), capsys)
        assert time.monotonic() - began < 30
        ended.set()
    assert asked.is_set()
    assert said.startswith("Beam's Java sink: its steps could not be made: Deadline Exceeded (")


def test_a_jar_that_does_not_start(tmp_path, capsys):
    """A jar of the right Beam that is no program."""
    jar = make_jar(tmp_path / "no-program.jar")
    said = refused(settings(f"--expansion_service={jar}"), capsys)
    assert said.startswith("Beam's Java sink: its steps could not be made: ")


def test_the_built_jar_is_the_default(no_built_jar):
    """Where `make expansion` has run."""
    make_jar(no_built_jar)
    service = expansion_service(settings())
    assert isinstance(service, JavaJarExpansionService)
    assert service.path_to_jar == str(no_built_jar)
    assert said() == []


def test_the_built_jar_is_checked_too(no_built_jar):
    """One from before a change of the pinned version is refused, by its path."""
    make_jar(no_built_jar, "2.70.0")
    [problem] = said()
    assert problem == (
        f"{no_built_jar}: is of Beam 2.70.0, and Python's Beam is {beam.__version__} "
        "(build it: make expansion)"
    )


def test_beam_services_holds(no_built_jar):
    """Beam's own option names another jar: then it is Beam's to find."""
    make_jar(no_built_jar)
    services = f"--beam_services={json.dumps({BEAM_SERVICE: '/some.jar'})}"
    assert expansion_service(settings(services)) is None
    others = f"--beam_services={json.dumps({'another:service': '/some.jar'})}"
    assert expansion_service(settings(others)) is not None


def test_the_option_comes_first(no_built_jar, tmp_path):
    """Before the built jar and before Beam's own option."""
    make_jar(no_built_jar)
    mine = make_jar(tmp_path / "mine.jar")
    services = f"--beam_services={json.dumps({BEAM_SERVICE: '/some.jar'})}"
    service = expansion_service(settings(services, f"--expansion_service={mine}"))
    assert service.path_to_jar == str(mine)
    assert said(f"--expansion_service={mine}") == []


def test_an_address(no_built_jar):
    """An address is handed on as it is."""
    assert expansion_service(settings("--expansion_service=localhost:8097")) == Running(
        "localhost:8097"
    )


def test_a_jar_that_is_not_there(tmp_path):
    """And neither is it an address."""
    path = tmp_path / "nowhere.jar"
    assert said(f"--expansion_service={path}") == [
        f"--expansion_service {path}: is no file, and no HOST:PORT (build it: make expansion)"
    ]


@pytest.mark.parametrize("content", ["text", "zip", "directory"])
def test_what_is_no_such_jar(tmp_path, content):
    """Text, a zip of something else, a folder."""
    path = tmp_path / "x.jar"
    if content == "directory":
        path.mkdir()
        assert "is no file, and no HOST:PORT" in said(f"--expansion_service={path}")[0]
        return
    if content == "text":
        path.write_text("PK no zip")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", "b")
    assert said(f"--expansion_service={path}") == [
        f"--expansion_service {path}: is no jar with Beam's Java SDK (build it: make expansion)"
    ]


def test_without_java(tmp_path, monkeypatch):
    """A jar alone does nothing."""
    jar = make_jar(tmp_path / "x.jar")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    [problem] = said(f"--expansion_service={jar}")
    assert problem.startswith(f"{tmp_path}/bin/java: is not there, and Beam's BigQuery sink is")


@pytest.mark.parametrize("silent", [False, True])
def test_an_address_where_nobody_answers(monkeypatch, silent):
    """Nothing listens there, or what listens says nothing: a Problem within seconds."""
    monkeypatch.setattr(expansion, "_ANSWER_SECONDS", 1.0)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if silent:
            server.listen()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        [problem] = said(f"--expansion_service={address}")
        assert problem == (
            f"--expansion_service {address}: no expansion service answers there within 1 s "
            "(start one on this machine, or leave the option out)"
        )


def test_it_is_asked_about_for_its_own_sink_only(tmp_path):
    """The native sink needs none of it."""
    missing = f"--expansion_service={tmp_path / 'nowhere.jar'}"
    with pytest.raises(ProblemsFound, match="is no file"):
        parse([*FILES, missing], lambda: "", objections)
    parse(["--project=demo-project", "--sink=native", missing], lambda: "", objections)


@pytest.mark.emulators
def test_tables_share_one_expansion_service(tmp_path, monkeypatch):
    """By path, one Java process expands the sinks of all tables, and is gone afterwards."""
    started = []
    real = subprocess.Popen

    class Counted(real):
        def __init__(self, command, *args, **kwargs):
            super().__init__(command, *args, **kwargs)
            if "-jar" in command:
                started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Counted)
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(f"table: {name}\ncollections: [{name}]")
    tables = [f"--schema={path}" for path in sorted(tmp_path.iterdir())]
    settings = parse(
        ["--runner=DataflowRunner", *FLAGS, f"--expansion_service={JAR}", *tables], lambda: ""
    )
    monkeypatch.setattr(
        GoogleCloudOptions, "_warn_if_soft_delete_policy_enabled", lambda self, argument: None
    )
    with built(settings, DATAFLOW) as pipeline:
        names = by_name(pipeline.to_runner_api())
        assert len([name for name in names if name.endswith("/StorageApiWriteSharded")]) == 3
        [service] = started
        assert service.poll() is None
    assert service.wait(20) is not None
