"""What a launch asks of Dataflow, and what it stages: the real command, through the door."""

import ast
import json
import subprocess
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2

from pipeline.launch import DONE
from pipeline.package import SHIPPED
from pipeline.step_names import step_names
from tests.dataflow.conftest import LAUNCH, ROOT
from tests.dataflow.door import JOBS, STORAGE
from tests.dataflow.worker import installed, payload, unpickled
from tests.pipeline.test_dataflow_graph import add_shard

GOLDEN = ROOT / "tests" / "data" / "steps.txt"
OPTIONS = (
    *("--job_name", "my-job", "--num_storage_api_streams=137", "--triggering_frequency=7"),
    *("--staging_location", "gs://bucket/staging", "--machine_type=n2-standard-2"),
    *("--num_workers=2", "--max_num_workers=7", "--autoscaling_algorithm=THROUGHPUT_BASED"),
    *("--labels=team=issues", "--labels=env=test", "--disk_size_gb=30"),
    "--service_account_email=worker@demo-project.iam.gserviceaccount.com",
    *("--network=net", "--subnetwork=regions/us-central1/subnetworks/sub"),
    "--no_use_public_ips",
    "--dataflow_kms_key=projects/demo-project/locations/us-central1/keyRings/r/cryptoKeys/k",
    "--dataflow_service_options=worker_utilization_hint=0.8",
)


@dataclass(frozen=True)
class Launched:
    """One launch: what was posted, and what lies in the bucket."""

    ended: object
    id: str
    job: dict
    door: object
    heard: tuple

    @property
    def environment(self):
        return self.job["environment"]

    @property
    def options(self):
        return self.environment["sdkPipelineOptions"]["options"]

    @property
    def pool(self):
        [pool] = self.environment["workerPools"]
        return pool

    def graph(self):
        """The staged graph."""
        content = self.door.stored(self.options["pipelineUrl"])
        return beam_runner_api_pb2.Pipeline.FromString(content)

    def packages(self):
        """The places of the staged packages by their names."""
        return {
            each["name"]: each["location"].replace(f"{STORAGE}/", "gs://", 1)
            for each in self.pool["packages"]
        }


def litter():
    """What a build leaves beside the source."""
    listed = subprocess.run(
        ["git", "status", "--porcelain", "--ignored"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return {
        line.split(maxsplit=1)[1] for line in listed.stdout.splitlines() if "egg-info" in line
    } | {each.name for each in ROOT.iterdir() if each.name in {"dist", "MANIFEST", "setup.cfg"}}


def launched(door_and_launcher, *argv, cwd=ROOT, **options):
    door, launch = door_and_launcher
    door.forget()
    ended = launch(*LAUNCH, *argv, cwd=cwd, **options)
    assert ended.code == DONE, ended.said
    [posted] = door.asked(JOBS, "POST")
    [made] = door.jobs
    return Launched(ended, made["id"], posted.json(), door, tuple(door.heard))


@pytest.fixture(scope="module")
def plain(door_and_launcher):
    """A launch with nothing but what Dataflow needs."""
    return launched(door_and_launcher)


@pytest.fixture(scope="module")
def full(door_and_launcher, tmp_path_factory):
    """A launch with everything, from an empty folder, with the Java sink's jar as it is built."""
    empty = tmp_path_factory.mktemp("elsewhere")
    before = litter()
    made = launched(
        door_and_launcher,
        *OPTIONS,
        f"--expansion_service={ROOT / 'build' / 'expansion' / 'expansion.jar'}",
        cwd=empty,
    )
    assert list(empty.iterdir()) == []
    assert litter() == before
    return made


@pytest.fixture(scope="module")
def with_image(door_and_launcher):
    """A launch with an image of the user's own."""
    return launched(door_and_launcher, "--sdk_container_image=example.test/issues:1")


def test_says_the_job_s_id(plain, full):
    """The last line is the job's id; nothing on the way is an error."""
    for each, name in ((plain, "issues-pubsub-to-bq"), (full, "my-job")):
        assert each.job["name"] == name
        assert each.ended.said.rstrip().endswith(f"submitted job {each.id} in us-central1")
        assert "Traceback" not in each.ended.said


def test_streams_on_streaming_engine_and_runner_v2(plain):
    """The request is production's: no local kind, the service's own URL, streaming, all engines."""
    assert plain.job["type"] == "JOB_TYPE_STREAMING"
    assert set(plain.environment["experiments"]) >= {
        "enable_streaming_engine",
        "enable_windmill_service",
        "use_runner_v2",
        "use_unified_worker",
        "beam_fn_api",
    }
    assert not any("at_least_once" in each for each in plain.environment["experiments"])
    assert "streaming_mode_at_least_once" not in plain.environment.get("serviceOptions", [])
    assert plain.pool["kind"] == "harness"
    assert plain.options["dataflow_endpoint"] == "https://dataflow.googleapis.com"
    assert plain.options["streaming"] is True
    assert "replaceJobId" not in plain.job


def test_nothing_of_the_launcher_reaches_the_workers(plain):
    """Neither the dry run by which the graph is made, nor a session of the launcher."""
    assert plain.options["dry_run"] is False
    assert plain.options["save_main_session"] is False
    assert "pickled_main_session" not in plain.packages()


def test_one_thing_is_asked_before_anything_is_sent(plain):
    """The jobs of this name and the bucket are asked for before a byte is uploaded or posted."""
    sent = [
        number
        for number, each in enumerate(plain.heard)
        if each.host in (STORAGE, JOBS) and each.method != "GET"
    ]
    asked = [
        number
        for number, each in enumerate(plain.heard)
        if (each.host, each.path, each.query.get("filter"))
        == (JOBS, "/v1b3/projects/demo-project/locations/us-central1/jobs", "ACTIVE")
    ]
    assert len(asked) == 2  # with the other checks, and as near to the launch as can be
    assert max(asked) < min(sent)
    assert plain.heard[-1].path.endswith("/locations/us-central1/jobs")
    assert plain.heard[-1].method == "POST"


def test_every_option_is_in_the_request(full):
    """Machines, autoscaling, labels, accounts, network and key are what the command line said."""
    assert full.job["name"] == "my-job"
    assert full.job["labels"] == {"team": "issues", "env": "test"}
    environment, pool = full.environment, full.pool
    assert environment["serviceAccountEmail"] == "worker@demo-project.iam.gserviceaccount.com"
    assert environment["serviceKmsKeyName"].endswith("/keyRings/r/cryptoKeys/k")
    assert environment["serviceOptions"] == ["worker_utilization_hint=0.8"]
    assert environment["tempStoragePrefix"].startswith(f"{STORAGE}/bucket/tmp/my-job.")
    assert pool["machineType"] == "n2-standard-2"
    assert pool["numWorkers"] == 2
    assert pool["diskSizeGb"] == 30
    assert pool["autoscalingSettings"] == {
        "algorithm": "AUTOSCALING_ALGORITHM_BASIC",
        "maxNumWorkers": 7,
    }
    assert pool["network"] == "net"
    assert pool["subnetwork"] == "regions/us-central1/subnetworks/sub"
    assert pool["ipConfiguration"] == "WORKER_IP_PRIVATE"
    assert full.options["pipelineUrl"].startswith("gs://bucket/staging/my-job.")


def test_the_read_deduplicates_by_our_id(plain):
    """The staged graph reads the subscription, and has Dataflow drop repeats of `dedup_id`."""
    [read] = [
        payload(each, beam_runner_api_pb2.PubSubReadPayload)
        for each in plain.graph().components.transforms.values()
        if each.spec.urn == common_urns.composites.PUBSUB_READ.urn
    ]
    assert read.subscription == "projects/demo-project/subscriptions/issues-pipeline-sub"
    assert (read.topic, read.id_attribute, read.with_attributes) == ("", "dedup_id", True)


def buffered(graph):
    """How long the sink collects rows, in milliseconds, by what groups them."""
    return {
        payload(each, beam_runner_api_pb2.GroupIntoBatchesPayload).max_buffering_duration_millis
        for each in graph.components.transforms.values()
        if "group_into_batches" in each.spec.urn
    }


def test_the_sink_is_exactly_once(plain, full):
    """Appends to streams, flushes by offset; shards by itself, or as many as were asked for."""
    for each in (plain, full):
        names = step_names(each.graph())
        assert any(
            name.endswith("/StorageApiWriteSharded/Flush and finalize writes") for name in names
        )
        assert not any("Inconsistent" in name for name in names)
    assert not any("AddShard" in name for name in step_names(plain.graph()))
    assert any("AddShard" in name for name in step_names(full.graph()))
    assert buffered(plain.graph()) == {2_000}
    assert buffered(full.graph()) == {7_000}


def test_the_streams_are_as_many_as_asked(full):
    """Java's step that spreads rows over streams holds the option's count."""
    held = add_shard(full.graph())
    assert (137).to_bytes(4, "big") in held
    assert (138).to_bytes(4, "big") not in held


def test_the_package_is_installed_alone_and_every_step_unpickles(plain, tmp_path):
    """What a worker installs from the bucket is enough for every step of the staged graph."""
    package = tmp_path / "workflow.tar.gz"
    package.write_bytes(plain.door.stored(plain.packages()["workflow.tar.gz"]))
    folder = tmp_path / "alone"
    folder.mkdir()
    files = installed(package, folder)
    assert {name.partition("/")[0] for name in files if name.endswith(".py")} == set(SHIPPED)
    assert "schemas/issues.yaml" in files
    modules = unpickled(plain.graph(), folder)
    steps = {name.partition("/")[0]: module for name, module in modules.items()}
    assert steps["DecodeEvents"] == steps["ShapeRows"] == "transforms.attempt"
    assert steps["PublishDeadLettersOfWrite"] == "pipeline.dead_letters"


def test_the_package_is_the_checkout_s(plain):
    """Every module that git knows is in the package, and nothing else."""
    content = plain.door.stored(plain.packages()["workflow.tar.gz"])
    with tarfile.open(fileobj=BytesIO(content)) as archive:
        shipped = {
            member.name.split("/", 1)[1] for member in archive if member.name.endswith(".py")
        }
    there = {
        str(path.relative_to(ROOT)) for package in SHIPPED for path in (ROOT / package).glob("*.py")
    }
    assert shipped - {"setup.py"} == there


def test_the_packages_are_setup_py_s():
    """The copy that is built holds what setup.py declares."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    [declared] = [
        ast.literal_eval(keyword.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "packages"
    ]
    assert tuple(declared) == SHIPPED


def test_an_image_of_the_user_s_own_has_the_package(with_image):
    """With a worker image nothing of Python is staged: it would be built by each worker."""
    assert [name for name in with_image.packages() if not name.endswith(".jar")] == []
    images = {each["containerImage"] for each in with_image.pool["sdkHarnessContainerImages"]}
    assert "example.test/issues:1" in images
    assert any("java" in image for image in images)


def test_the_jar_is_sent_once(plain, full, with_image):
    """The Java sink's jar, 164 MB, goes to a staging place once; later launches copy it there."""

    def sent(launched):
        assert any(package.endswith(".jar") for package in launched.packages())
        return sum(
            len(each.body)
            for each in launched.heard
            if each.host == STORAGE and each.method == "PUT"
        )

    assert sent(full) > 100_000_000  # the only launch with this staging place
    assert plain.packages().keys() > with_image.packages().keys()
    assert sent(with_image) < 1_000_000
    assert any("/copyTo/" in each.path for each in with_image.heard)


def test_a_template(door_and_launcher):
    """With `--template_location` the job is staged and written down, and nothing is posted.

    A job of this name is the template's own launcher, and no reason to stop.
    """
    door, launch = door_and_launcher
    door.forget()
    door.runs("issues-pubsub-to-bq", "JOB_STATE_QUEUED")
    place = "gs://bucket/templates/job"
    ended = launch(*LAUNCH, f"--template_location={place}")
    assert ended.code == DONE, ended.said
    assert ended.said.rstrip().endswith(f"template written: {place}")
    assert door.asked(JOBS) == []
    written = json.loads(door.stored(place))
    assert written["name"] == "issues-pubsub-to-bq"
    options = written["environment"]["sdkPipelineOptions"]["options"]
    assert b"WriteRows" in door.stored(options["pipelineUrl"])


def test_the_temporary_folder_is_left_clean(plain, full):
    """Nothing that a launch made on this machine is left."""
    left = [path.name for path in Path(plain.door.folder).iterdir()]
    assert [name for name in left if name.startswith(("launch-", "beam-", "tmp", "package-"))] == []


def test_steps_are_the_golden_ones(plain):
    """A job is updated by its steps' names: none changes by accident."""
    names = "".join(f"{name}\n" for name in sorted(step_names(plain.graph())))
    actual = ROOT / "build" / "steps.txt"
    actual.write_text(names)
    assert GOLDEN.read_text() == names, (
        f"an update of a running job would lose the steps that are gone. If that is meant: "
        f"cp {actual} {GOLDEN}, and write into CHANGELOG.md which --transform_name_mapping an "
        "update needs"
    )
