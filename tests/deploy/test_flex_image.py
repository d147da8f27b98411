"""The Flex Template's images, without a container engine, and a launch by its launcher's flags.

The Dockerfile's COPY and RUN lines are carried out in folders. Third-party packages are those of
this environment: the image's come from the same constraints.txt. What Dataflow's launcher gives is
from Google's page on Flex Templates and from launches that others recorded; the launcher itself is
not to be had here.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2

from local.emulators import find
from local.expansion import JAR
from local.ports import HOST, Ports
from local.processes import Command, Processes
from local.resources import create
from local.web import serving
from pipeline.package import SHIPPED
from schemas import live
from schemas.apply import bigquery_table
from schemas.table_file import shipped
from tests.dataflow.door import JOBS, STORAGE, Door
from tests.deploy.image import ROOT, built, stages

pytestmark = pytest.mark.emulators

DOCKERFILE = ROOT / "deploy/flex/Dockerfile"
LAUNCHER = "/opt/google/dataflow/python_template_launcher"
IN_IMAGE = "/opt/issues/expansion.jar"
PROJECT = "demo-project"
PYTHON_IMAGE = "us-east1-docker.pkg.dev/demo-project/issues/pipeline:t1"
JAVA_IMAGE = "us-east1-docker.pkg.dev/demo-project/issues/pipeline-java:t1"
SECONDS = 120
JOB_OBJECT = "gs://bucket/staging/template_launches/2026-12-01_00_00_00-1/job_object"
# The graph has some 300 KB; the jar that is not to be sent has 164 MB.
MOST_BYTES = 1_000_000
FLAGS = (
    *("--runner=DataflowRunner", f"--project={PROJECT}", "--region=us-east1"),
    *("--job_name=issues-pubsub-to-bq", f"--template_location={JOB_OBJECT}"),
    *("--staging_location=gs://bucket/staging", "--temp_location=gs://bucket/temp"),
    "--service_account_email=issues-pipeline@demo-project.iam.gserviceaccount.com",
    *("--num_workers=1", "--max_num_workers=5", "--machine_type=n2-standard-2"),
    *("--network=net", "--subnetwork=regions/us-east1/subnetworks/sub"),
    *("--enable_streaming_engine=true", "--no_use_public_ips=true", "--labels=team=a"),
    *("--experiments=one,two", "--dump_heap_on_oom=false"),
)


def run(image, words):
    """RUN, as far as this machine has what it would make."""
    if words[0] == "apt-get":
        return  # the base's package manager; Java is this machine's own
    if words[0] == "mvn":
        target = image.inside("build/expansion/expansion.jar")
        target.parent.mkdir(parents=True)
        shutil.copy2(JAR, target)
        return
    assert words[:3] == ["python", "-m", "pip"], f"RUN {words}: is not carried out here"
    options = words[4:]
    if words[3] == "install":
        assert options[-3:] == ["--constraint", "constraints.txt", "."]
        # Of all packages the job's own alone, built by what is installed here.
        options = [one for one in options[:-3] if one != "--no-cache-dir"]
        options += ["--no-deps", "--no-build-isolation", "--target", image.inside("/site"), "."]
    done = subprocess.run(
        [sys.executable, "-m", "pip", words[3], *options],
        cwd=image.workdir, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def images():
    """Each stage's image."""
    assert JAR.is_file(), f"{JAR} is missing: make expansion"
    root = Path(tempfile.mkdtemp(prefix="flex-"))
    try:
        names = {"PYTHON_IMAGE": PYTHON_IMAGE, "JAVA_IMAGE": JAVA_IMAGE}
        yield built(DOCKERFILE, root, run, names, [("launcher", LAUNCHER)])
    finally:
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def the_door(tmp_path_factory):
    """The door, and the Pub/Sub emulator with what the job reads."""
    folder = tmp_path_factory.mktemp("door")
    port = Ports().take(0)
    tables = {
        table.name: bigquery_table(table, f"{PROJECT}.issues_ds").to_api_repr() | {"type": "TABLE"}
        for table in shipped()
    }
    command = Command("Pub/Sub emulator", tuple(find(own=True).pubsub_command(str(port))))
    with Door(folder, tables) as door, Processes(folder / "logs") as processes:
        processes.start(command).wait_ready(serving(f"{HOST}:{port}"), SECONDS)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(live.PUBSUB_EMULATOR_HOST, f"{HOST}:{port}")
            create(live.publisher_client(), live.subscriber_client(), PROJECT)
        door.bucket("bucket")
        door.pubsub = f"{HOST}:{port}"
        yield door


@dataclass
class Launched:
    """A launch that is over, and what it left."""

    code: int
    said: str
    door: Door

    @property
    def job(self):
        """The request that Dataflow makes the job of."""
        return json.loads(self.door.stored(JOB_OBJECT))

    @property
    def graph(self):
        url = self.job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
        return beam_runner_api_pb2.Pipeline.FromString(self.door.stored(url))

    def environments(self):
        """The graph's environments, by their container image."""
        return {
            beam_runner_api_pb2.DockerPayload.FromString(each.payload).container_image: each
            for each in self.graph.components.environments.values()
        }


def launch(images, door, *flags, before=lambda _: None):
    """Runs the image's FLEX_TEMPLATE_PYTHON_PY_FILE, as the launcher does."""
    door.forget()
    before(door)
    image = images["python"]
    packages = f"{image.inside('/site')}{os.pathsep}{sysconfig.get_path('purelib')}"
    done = subprocess.run(
        [sys._base_executable, "-S", image.env["FLEX_TEMPLATE_PYTHON_PY_FILE"], *FLAGS, *flags],
        cwd=image.workdir,
        env={
            **door.environment(),
            **image.env,
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "CLOUDSDK_CONFIG": "/nonexistent",
            "TMPDIR": str(door.folder),
            "PYTHONPATH": packages,  # read without .pth files: not the checkout's
            live.PUBSUB_EMULATOR_HOST: door.pubsub,
        },
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.stdout == ""
    return Launched(done.returncode, done.stderr, door)


@pytest.fixture(scope="module")
def launched(images, the_door):
    """A launch without parameters."""
    done = launch(images, the_door)
    assert done.code == 0, done.said
    done.heard = list(the_door.heard)
    return done


def files(folder):
    """Of a package: all but what its own image's build reads."""
    return {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "requirements.txt"
    }


class TestDockerfile:
    def test_versions(self):
        """Beam's images are of the pinned Beam and Python; no base is whatever is latest."""
        bases = {stage.name: stage.base for stage in stages(DOCKERFILE)}
        assert bases["java"] == f"apache/beam_java17_sdk:{beam.__version__}"
        assert bases["python"] == f"apache/beam_python3.11_sdk:{beam.__version__}"
        assert f"apache-beam=={beam.__version__}\n" in (ROOT / "constraints.txt").read_text()
        pom = (ROOT / "deploy/expansion/pom.xml").read_text()
        assert f"<beam.version>{beam.__version__}</beam.version>" in pom
        assert re.fullmatch(r"maven:[\d.]+-eclipse-temurin-17", bases["jar"])
        assert re.fullmatch(r"\S+/python311-template-launcher-base:\d{8}_RC\d\d", bases["launcher"])

    def test_the_jar_is_the_makefile_s(self):
        """The image's jar is made as `make expansion` makes it."""
        [jar] = [stage for stage in stages(DOCKERFILE) if stage.name == "jar"]
        [command] = [rest for word, rest in jar.instructions if word == "RUN"]
        assert f"\t{command}\n" in (ROOT / "Makefile").read_text()

    def test_it_is_a_worker_s_image_too(self):
        """Beam's own entry point stays, in both images."""
        words = {word for stage in stages(DOCKERFILE) for word, _ in stage.instructions}
        assert words == {"ARG", "COPY", "ENV", "RUN", "WORKDIR"}

    def test_dependencies_are_checked(self):
        """All versions are those of constraints.txt, and pip checks that all go together."""
        final = stages(DOCKERFILE)[-1]
        runs = [shlex.split(rest) for word, rest in final.instructions if word == "RUN"]
        install, check = (words[3:] for words in runs if words[:3] == ["python", "-m", "pip"])
        assert install[-3:] == ["--constraint", "constraints.txt", "."]
        assert check == ["check"]


class TestImages:
    def test_files(self, images):
        """The launcher, the jar at one path in both, the entry, and each package as it is here."""
        python, java = images["python"], images["java"]
        assert python.inside(LAUNCHER).is_file()
        assert [str(p.relative_to(java.root)) for p in java.root.rglob("*.jar")] == [IN_IMAGE[1:]]
        assert python.inside(IN_IMAGE).stat().st_size == JAR.stat().st_size
        assert [path.name for path in python.inside("/template").iterdir()] == ["main.py"]
        for package in SHIPPED:
            assert files(python.inside("/site") / package) == files(ROOT / package)

    def test_environment(self, images):
        """No setup file, no requirements: all is installed. The images know their own names."""
        image = images["python"]
        assert image.env == {
            "FLEX_TEMPLATE_PYTHON_PY_FILE": str(image.inside("/template/main.py")),
            "EXPANSION_JAR": str(image.inside(IN_IMAGE)),
            "PYTHON_IMAGE": PYTHON_IMAGE,
            "JAVA_IMAGE": JAVA_IMAGE,
        }


class TestLaunch:
    def test_the_job_is_written_and_not_started(self, launched):
        """The request is where the launcher wants it, and Dataflow itself was asked for nothing."""
        assert f"template written: {JOB_OBJECT}" in launched.said
        assert [each for each in launched.heard if each.host == JOBS] == []
        job = launched.job
        assert (job["name"], job["type"]) == ("issues-pubsub-to-bq", "JOB_TYPE_STREAMING")

    def test_the_launcher_s_flags_are_in_the_job(self, launched):
        """What the launch request has fields for goes into the job as it was given."""
        job = launched.job
        assert job["labels"] == {"team": "a"}
        environment = job["environment"]
        account = "issues-pipeline@demo-project.iam.gserviceaccount.com"
        assert environment["serviceAccountEmail"] == account
        assert {"one", "two", "enable_streaming_engine"} <= set(environment["experiments"])
        [pool] = environment["workerPools"]
        assert (pool["machineType"], pool["numWorkers"]) == ("n2-standard-2", 1)
        assert pool["autoscalingSettings"]["maxNumWorkers"] == 5
        assert (pool["network"], pool["subnetwork"]) == (
            "net",
            "regions/us-east1/subnetworks/sub",
        )
        assert pool["ipConfiguration"] == "WORKER_IP_PRIVATE"

    def test_a_flag_of_the_launcher_s_own(self, launched):
        """A field of the launch that is none of the job's is named and left out."""
        said = "about the launch and not about the job: --dump_heap_on_oom=false"
        assert said in launched.said

    def test_workers_run_in_the_images(self, launched):
        """Python's in the template's own, Java's in the one built with it, and none in Beam's."""
        [pool] = launched.job["environment"]["workerPools"]
        named = {each["containerImage"] for each in pool["sdkHarnessContainerImages"]}
        assert named == {PYTHON_IMAGE, JAVA_IMAGE}
        assert launched.environments().keys() == named

    def test_the_graph(self, launched):
        """It is the job's: the read deduplicates by our id, the sink is Java's, exactly once."""
        transforms = launched.graph.components.transforms.values()
        [read] = [
            beam_runner_api_pb2.PubSubReadPayload.FromString(each.spec.payload)
            for each in transforms
            if each.spec.urn == common_urns.composites.PUBSUB_READ.urn
        ]
        assert read.id_attribute == "dedup_id"
        names = [each.unique_name for each in transforms]
        assert any(name.endswith("/Flush and finalize writes") for name in names)

    def test_nothing_large_is_staged(self, launched):
        """Neither the 164 MB jar nor the package: all that is sent is the graph and a pointer."""
        uploads = {
            name: len(each.body)
            for each in launched.heard
            if each.host == STORAGE and each.method in ("POST", "PUT")
            for name in [each.query.get("name") or each.query.get("upload_id")]
        }
        assert sum(uploads.values()) < MOST_BYTES, uploads
        images = launched.environments()
        assert list(images[PYTHON_IMAGE].dependencies) == []
        assert len(images[JAVA_IMAGE].dependencies) == 1

    def test_java_s_workers_find_the_jar(self, images, launched, tmp_path):
        """By what was staged alone, as Beam's boot program puts it on the class path."""
        [artifact] = launched.environments()[JAVA_IMAGE].dependencies
        payload = beam_runner_api_pb2.ArtifactFilePayload.FromString(artifact.type_payload)
        staged = tmp_path / "staged.jar"
        staged.write_bytes(launched.door.stored(payload.path))
        assert staged.stat().st_size < 1_000
        with zipfile.ZipFile(staged) as archive:
            manifest = archive.read("META-INF/MANIFEST.MF").decode().replace("\r\n ", "")
        assert f"Class-Path: {images['python'].inside(IN_IMAGE).as_uri()}\r\n" in manifest
        # boot.go makes a jar of its own whose class path is all that was staged.
        pathing = tmp_path / "pathing.jar"
        with zipfile.ZipFile(pathing, "w") as archive:
            text = "Manifest-Version: 1.0\r\nClass-Path: staged.jar\r\n\r\n"
            archive.writestr("META-INF/MANIFEST.MF", text)
        main = "org.apache.beam.sdk.expansion.service.ExpansionService"
        done = subprocess.run(
            ["java", "-cp", pathing, main],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "Usage: " in done.stdout + done.stderr

    def test_parameters(self, images, the_door):
        """The template's own reach the graph, and images that a launch names stand in for ours."""
        done = launch(
            images, the_door,
            "--input_subscription=issues-pipeline-sub", "--num_storage_api_streams=2",
            "--sdk_container_image=example/python:2", "--dataflow_service_options=a,b",
            "--sdk_harness_container_image_overrides=.*beam_java.*,example/java:2",
        )  # fmt: skip
        assert done.code == 0, done.said
        assert done.environments().keys() == {"example/python:2", "example/java:2"}
        assert done.job["environment"]["serviceOptions"] == ["a", "b"]
        names = [each.unique_name for each in done.graph.components.transforms.values()]
        assert any("AddShard" in name for name in names)  # of a fixed number of streams

    def test_what_would_lose_data(self, images, the_door):
        """It is refused in the launcher too, with its sentence, and nothing is written."""
        the_door.storage("DELETE", "/storage/v1/b/bucket/o/" + JOB_OBJECT[12:].replace("/", "%2F"))
        done = launch(images, the_door, "--dead_letter_topic=nowhere")
        assert done.code == 2
        assert "--dead_letter_topic projects/demo-project/topics/nowhere: is not there" in done.said
        assert [each for each in the_door.heard if each.method in ("POST", "PUT")
                and each.host in (STORAGE, JOBS)] == []  # fmt: skip

    def test_no_expansion_service(self, images, the_door):
        """Where Java cannot start, the launch says so and ends at once."""
        image = images["python"]
        jar = image.env["EXPANSION_JAR"]
        image.env["EXPANSION_JAR"] = image.env["FLEX_TEMPLATE_PYTHON_PY_FILE"]
        try:
            done = launch(images, the_door)
        finally:
            image.env["EXPANSION_JAR"] = jar
        assert done.code == 2
        no_jar = image.env["FLEX_TEMPLATE_PYTHON_PY_FILE"]
        assert f"expansion service {no_jar}: does not answer, exit code 1: " in done.said
        assert "Invalid or corrupt jarfile" in done.said

    def test_an_update(self, images, the_door):
        """The job of this name that runs is replaced, not the launcher's own of the same name."""
        mapping = '--transform_name_mapping={"ReadMessages":"ReadMessages"}'

        def found(door):
            door.runs("issues-pubsub-to-bq", "JOB_STATE_QUEUED")
            return door.runs("issues-pubsub-to-bq")

        done = launch(images, the_door, "--update=true", mapping, before=found)
        assert done.code == 0, done.said
        [_, running] = the_door.jobs
        assert done.job["replaceJobId"] == running["id"]
        assert done.job["transformNameMapping"] == {"ReadMessages": "ReadMessages"}
