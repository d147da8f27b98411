"""The graph that Dataflow would be given, with Beam's Java sink expanded for real."""

import json
import re
import shutil
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.utils.subprocess_server import JavaJarServer

from pipeline.engines import DATAFLOW, DIRECT, MOST_TABLES_OF_BEAM
from pipeline.launch import built
from pipeline.options import parse
from tests.dataflow.worker import payload
from tests.pipeline.test_build import NAMES

ROOT = Path(__file__).parents[2]
JAR = ROOT / "build" / "expansion" / "expansion.jar"
SERVICE = "sdks:java:io:google-cloud-platform:expansion-service:build"
FLAGS = ["--project=demo-project", "--region=us-central1", "--temp_location=gs://bucket/tmp"]


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
def test_a_longer_horizon_keeps_ids_as_state(java):
    """Above ten minutes a stateful step drops repeats, with a timer that forgets them."""
    longer = graph(DATAFLOW, "--dedup_horizon=3600")
    first = payload(by_name(longer)["Deduplicate/First"], beam_runner_api_pb2.ParDoPayload)
    assert len(first.state_specs) == len(first.timer_family_specs) == 1
    # Within them there is no state of ours: Dataflow does it at the read.
    within = graph(DATAFLOW, "--dedup_horizon=600")
    assert [name for name in by_name(within) if name.startswith("Deduplicate/")] == []


@pytest.mark.emulators
def test_the_sink_is_exactly_once(live_graph):
    """Java's sink appends to sharded streams and flushes by offset, every two seconds."""
    names = [name for name in by_name(live_graph) if name.startswith("WriteRows/")]
    assert any(
        name.endswith("/StorageApiLoads/StorageApiWriteSharded/Flush and finalize writes")
        for name in names
    )
    assert not any("StorageApiWriteInconsistent" in name for name in names)
    assert not any("AddShard" in name for name in names)
    assert buffering(live_graph) == {2_000}


def buffering(proto):
    """For how many milliseconds the sink collects rows."""
    return {
        payload(each, beam_runner_api_pb2.GroupIntoBatchesPayload).max_buffering_duration_millis
        for each in proto.components.transforms.values()
        if "group_into_batches" in each.spec.urn
    }


@pytest.mark.emulators
def test_streams_and_frequency_as_asked_for(java):
    """With a number of streams the sink shards by it, and collects for the seconds given."""
    three, four = (
        graph(DATAFLOW, f"--num_storage_api_streams={streams}", "--triggering_frequency=7")
        for streams in (3, 4)
    )
    assert buffering(three) == {7_000}
    names = [name for name in by_name(three) if name.startswith("WriteRows/")]
    assert any(name.endswith("StorageApiWriteSharded/Flush and finalize writes") for name in names)
    assert not any("StorageApiWriteInconsistent" in name for name in names)
    # Java's own object says how many: the two graphs first differ in that number.
    pairs = zip(add_shard(three), add_shard(four), strict=True)
    assert next((one, other) for one, other in pairs if one != other) == (3, 4)


def add_shard(proto):
    """The object of Java's step that shards by a number of streams, as Java writes objects."""
    [step] = [
        each
        for name, each in by_name(proto).items()
        if name.endswith("AddShard/ParMultiDo(Anonymous)")
    ]
    framed = payload(step, beam_runner_api_pb2.ParDoPayload).do_fn.payload
    # snappy-java's stream: a magic of 8 bytes, two versions, then the length of one chunk, which
    # begins with its own length when unpacked, in sevens of bits.
    assert framed[:8] == b"\x82SNAPPY\x00"
    assert len(framed) == 20 + int.from_bytes(framed[16:20], "big")
    chunk = framed[20:]
    size = sum((byte & 127) << 7 * n for n, byte in enumerate(length_of(chunk)))
    found = pa.Codec("snappy").decompress(chunk, size).to_pybytes()
    assert b"numShards" in found
    return found


def length_of(chunk):
    """The bytes of the number with which a chunk begins."""
    end = next(n for n, byte in enumerate(chunk) if byte < 128)
    return chunk[: end + 1]


@pytest.mark.emulators
def test_failed_rows_of_the_sink_are_published(live_graph):
    """What the sink gives back goes through our conversion into the publish of its own."""
    transforms = by_name(live_graph)
    publish = transforms["PublishDeadLettersOfWrite/Publish"]
    convert = transforms["WriteRows/Failed issues_stream"]
    assert set(publish.inputs.values()) == set(convert.outputs.values())


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
