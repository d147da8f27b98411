"""The graph that Dataflow would be given, with Beam's Java sink expanded for real."""

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.utils import proto_utils
from apache_beam.utils.subprocess_server import JavaJarServer

from pipeline.engines import DATAFLOW, DIRECT, MOST_TABLES_OF_BEAM
from pipeline.launch import built
from pipeline.options import parse
from tests.pipeline.test_build import NAMES

ROOT = Path(__file__).parents[2]
JAR = ROOT / "build" / "expansion" / "expansion.jar"
SERVICE = "sdks:java:io:google-cloud-platform:expansion-service:build"
FLAGS = ["--project=demo-project", "--region=us-central1", "--temp_location=gs://bucket/tmp"]
PICKLED = "beam:dofn:pickled_python_info:v1"

_UNPICKLE = """
import base64, json, sys
folder = sys.argv[1]
checkout = sys.argv[2]
sys.path[:] = [folder, *(p for p in sys.path if p and not p.startswith(checkout) or "/lib/" in p)]
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]
from apache_beam.internal import pickler
for name, payload in json.load(sys.stdin).items():
    try:
        do_fn = pickler.loads(base64.b64decode(payload))[0]
    except Exception as error:
        print(name, "FAILED", repr(error))
    else:
        print(name, type(do_fn).__module__)
import pipeline.append
print("shipped", pipeline.append.__file__.startswith(folder))
"""


def graph(engine, *argv):
    """The pipeline's proto; the sink is expanded by the jar that `make expansion` builds."""
    assert shutil.which("java"), "java is missing: install a Java runtime"
    assert JAR.is_file(), "build/expansion/expansion.jar is missing: make expansion"
    services = f"--beam_services={json.dumps({SERVICE: str(JAR)})}"
    settings = parse([f"--runner={engine.runner}", *FLAGS, services, *argv], lambda: "")
    with pytest.MonkeyPatch.context() as patch:
        # Beam asks the bucket whether it keeps deleted files: for minutes, since there is none.
        patch.setattr(
            GoogleCloudOptions, "_warn_if_soft_delete_policy_enabled", lambda self, argument: None
        )
        with built(settings, engine) as pipeline:
            return pipeline.to_runner_api()


@pytest.fixture(scope="module")
def java():
    """Keeps Beam's expansion service between the graphs of this module."""
    with JavaJarServer.cache_subprocesses():
        yield


@pytest.fixture(scope="module")
def live_graph(java):
    return graph(DATAFLOW)


@pytest.fixture(scope="module")
def graph_of_two(java, tmp_path_factory):
    """Two tables as the shipped one is declared."""
    folder = tmp_path_factory.mktemp("tables")
    text = (ROOT / "schemas" / "issues.yaml").read_text()
    second = re.sub(r"(?m)^(default|view_prefix): .*\n", "", text)
    second = second.replace("table: issues_stream", "table: more").replace("[issues]", "[more]")
    (folder / "more.yaml").write_text(second)
    return graph(DATAFLOW, f"--schema={folder / 'more.yaml'}")


def by_name(proto):
    return {each.unique_name: each for each in proto.components.transforms.values()}


def payload(transform, kind):
    return proto_utils.parse_Bytes(transform.spec.payload, kind)


@pytest.mark.emulators
def test_top_level_steps(live_graph):
    """A job is updated by its steps' names: the same as on this machine."""
    [root] = live_graph.root_transform_ids
    transforms = live_graph.components.transforms
    top = [transforms[each].unique_name for each in transforms[root].subtransforms]
    assert top == NAMES


@pytest.mark.emulators
def test_the_read_deduplicates_by_our_id(live_graph):
    """Dataflow reads the subscription, and drops repeats of `dedup_id`."""
    [read] = [
        payload(each, beam_runner_api_pb2.PubSubReadPayload)
        for each in live_graph.components.transforms.values()
        if each.spec.urn == common_urns.composites.PUBSUB_READ.urn
    ]
    assert read.subscription == "projects/demo-project/subscriptions/issues-pipeline-sub"
    assert read.topic == ""
    assert read.id_attribute == "dedup_id"
    assert read.with_attributes


@pytest.mark.emulators
def test_the_sink_is_exactly_once(live_graph):
    """Java's sink appends to sharded streams and flushes by offset, every five seconds."""
    names = [name for name in by_name(live_graph) if name.startswith("WriteRows/")]
    assert any(
        name.endswith("/StorageApiLoads/StorageApiWriteSharded/Flush and finalize writes")
        for name in names
    )
    assert not any("StorageApiWriteInconsistent" in name for name in names)
    assert not any("AddShard" in name for name in names)
    durations = {
        payload(each, beam_runner_api_pb2.GroupIntoBatchesPayload).max_buffering_duration_millis
        for name, each in by_name(live_graph).items()
        if each.spec.urn == common_urns.group_into_batches_components.GROUP_INTO_BATCHES.urn
        or "group_into_batches" in each.spec.urn
    }
    assert durations == {5_000}


@pytest.mark.emulators
def test_failed_rows_of_the_sink_are_published(live_graph):
    """What the sink gives back goes through our conversion into the publish of its own."""
    transforms = by_name(live_graph)
    publish = transforms["PublishDeadLettersOfWrite/Publish"]
    convert = transforms["WriteRows/Failed issues_stream"]
    assert set(publish.inputs.values()) == set(convert.outputs.values())


@pytest.mark.emulators
def test_every_do_fn_unpickles_on_a_worker(live_graph, tmp_path):
    """With what setup.py ships, and nothing else of the checkout, a worker imports every step."""
    built = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    do_fns = {}
    for each in live_graph.components.transforms.values():
        if each.spec.urn == common_urns.primitives.PAR_DO.urn:
            par_do = payload(each, beam_runner_api_pb2.ParDoPayload)
            if par_do.do_fn.urn == PICKLED:
                do_fns[each.unique_name] = base64.b64encode(par_do.do_fn.payload).decode()
    ended = subprocess.run(
        [sys.executable, "-P", "-c", _UNPICKLE, str(tmp_path), str(ROOT)],
        cwd=tmp_path,
        input=json.dumps(do_fns),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    *lines, shipped = ended.stdout.splitlines()
    assert shipped == "shipped True"
    assert [line for line in lines if "FAILED" in line] == []
    assert len(lines) == len(do_fns)
    modules = {line.split("/")[0]: line.rpartition(" ")[2] for line in lines}
    assert modules["DecodeEvents"] == modules["ShapeRows"] == "transforms.attempt"
    assert modules["PublishDeadLettersOfWrite"] == "pipeline.dead_letters"


@pytest.mark.emulators
def test_several_tables_are_several_sinks(graph_of_two):
    """Each table has an exactly-once sink and a failed output of its own."""
    names = by_name(graph_of_two)
    for table in ("issues_stream", "more"):
        assert any(
            name.startswith(f"WriteRows/Write {table}/") and name.endswith("finalize writes")
            for name in names
        )
        assert f"WriteRows/Failed {table}" in names


@pytest.mark.emulators
def test_what_one_more_table_costs(live_graph, graph_of_two):
    """The figures of docs/adr/0004, from which the most tables of Beam's sink are chosen."""
    one, two = by_name(live_graph), by_name(graph_of_two)
    more = [each for name, each in two.items() if name not in one]
    steps = [each for each in more if each.spec.urn and not each.subtransforms]
    assert len(more) == 45  # one of them the Flatten of the failed rows, once for all tables
    assert len(steps) == 20
    size = graph_of_two.ByteSize() - live_graph.ByteSize()
    assert 120_000 < size < 150_000
    # https://cloud.google.com/dataflow/docs/request-quotas: a job's graph of at most 10 MB.
    assert MOST_TABLES_OF_BEAM * size < 10_000_000 / 3


@pytest.mark.emulators
def test_the_same_sink_here_over_files(java):
    """On DirectRunner the Java sink is for files only, and builds there too."""
    names = by_name(graph(DIRECT, "--input_files=f", "--sink=storage_write"))
    assert any("StorageApiLoads" in name for name in names)
    assert not any("StorageApiWriteInconsistent" in name for name in names)


def test_the_jar_s_beam_is_the_pinned_one():
    """Java's half of Beam is of the same version as Python's."""
    pom = (ROOT / "deploy" / "expansion" / "pom.xml").read_text()
    [version] = re.findall(r"<beam.version>(.*)</beam.version>", pom)
    pins = (ROOT / "constraints.txt").read_text()
    assert f"apache-beam=={version}\n" in pins
    assert f"apache-beam[gcp]=={version}" in (ROOT / "setup.py").read_text()
    assert set(re.findall(r"<version>(.*)</version>", pom)) >= {"${beam.version}"}
    assert beam.__version__ == version
