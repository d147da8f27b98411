"""The Flex Template's scripts, carried out by the real gcloud at a door that answers for Google."""

import io
import json
import os
import re
import subprocess
import tarfile

import pytest
import yaml

from pipeline.options import OPTIONS
from tests.dataflow.door import JOBS, Answer, Door, error
from tests.deploy.image import ROOT, copied, kept

pytestmark = pytest.mark.emulators

FLEX = ROOT / "deploy/flex"
BUILDS = "cloudbuild.googleapis.com"
ARGUMENTS = ("--project", "demo-project", "--region", "us-east1", "--bucket", "bucket-1")
IMAGE = "us-east1-docker.pkg.dev/demo-project/issues/pipeline:t1"
JAVA = "us-east1-docker.pkg.dev/demo-project/issues/pipeline-java:t1"
TEMPLATE = "gs://bucket-1/templates/issues.json"


@pytest.fixture(scope="module")
def the_door(tmp_path_factory):
    with Door(tmp_path_factory.mktemp("door"), {}) as made:
        for name in ("bucket-1", "demo-project_cloudbuild"):
            made.bucket(name)
        yield made


@pytest.fixture
def door(the_door):
    """The door, as if nobody had been there."""
    the_door.forget()
    the_door.answers[JOBS, "POST"] = Answer(body={"job": {"id": "FLEX-1"}})
    the_door.answers[BUILDS] = built
    return the_door


def built(request):
    """Cloud Build: a build that is done at once."""
    build = {"id": "B1", "projectId": "demo-project", "status": "SUCCESS", "logUrl": "there"}
    build["logsBucket"] = "gs://demo-project_cloudbuild"
    if request.method == "GET":
        return Answer(body=build)
    told = "type.googleapis.com/google.devtools.cloudbuild.v1.BuildOperationMetadata"
    return Answer(body={"name": "operations/1", "metadata": {"@type": told, "build": build}})


@pytest.fixture
def script(door, tmp_path):
    """Carries a script out, as a service account whose key is on this machine."""

    def carry_out(name, *arguments, code=0):
        given = door.environment()
        done = subprocess.run(
            ["bash", FLEX / name, *ARGUMENTS, *arguments],
            cwd=tmp_path,
            env={
                **given,
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "CLOUDSDK_CONFIG": str(tmp_path),
                "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
                "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE": given["REQUESTS_CA_BUNDLE"],
                "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": given["GOOGLE_APPLICATION_CREDENTIALS"],
            },
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return carry_out


def gcloud(door, tmp_path, *words):
    """What gcloud prints, with nothing of its own to reach."""
    done = subprocess.run(
        ["gcloud", *words],
        env={
            **door.environment(),
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "CLOUDSDK_CONFIG": str(tmp_path),
            "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
        },
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


def written(door):
    """The template file that was uploaded last."""
    return json.loads(door.stored(TEMPLATE))


class TestBuild:
    def test_the_build(self, script, door):
        """Cloud Build makes both targets of the Dockerfile, and the template's knows both names."""
        script("build.sh", "--tag", "t1")
        [request] = door.asked(BUILDS, "POST")
        build = request.json()
        assert request.path == "/v1/projects/demo-project/locations/us-east1/builds"
        assert build["substitutions"] == {"_PYTHON_IMAGE": IMAGE, "_JAVA_IMAGE": JAVA}
        assert build["images"] == ["$_JAVA_IMAGE", "$_PYTHON_IMAGE"]
        arguments = {step["id"]: step["args"] for step in build["steps"]}
        assert arguments == {
            "java": [
                *("build", "--file=deploy/flex/Dockerfile", "--target=java"),
                *("--tag=$_JAVA_IMAGE", "."),
            ],
            "python": [
                *("build", "--file=deploy/flex/Dockerfile", "--target=python"),
                *("--tag=$_PYTHON_IMAGE", "--build-arg=PYTHON_IMAGE=$_PYTHON_IMAGE"),
                *("--build-arg=JAVA_IMAGE=$_JAVA_IMAGE", "."),
            ],
        }
        assert written(door)["image"] == IMAGE

    def test_what_is_uploaded(self, script, door):
        """The checkout's files that the Dockerfile copies, itself, and no other."""
        script("build.sh")
        source = door.asked(BUILDS, "POST")[0].json()["source"]["storageSource"]
        archive = door.stored(f"gs://{source['bucket']}/{source['object']}")
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            uploaded = {one.name.removeprefix("./") for one in opened if one.isfile()}
        expected = {
            str(file.relative_to(ROOT))
            for path in copied(FLEX / "Dockerfile")
            for file in [ROOT / path, *(ROOT / path).rglob("*")]
            if file.is_file() and "__pycache__" not in file.parts
        }
        own = {"deploy/flex/Dockerfile", "deploy/flex/Dockerfile.dockerignore"}
        assert uploaded == expected | own

    def test_tags(self, script, door):
        """Each build has a tag of its own: workers that start later find the same image."""
        script("build.sh")
        [request] = door.asked(BUILDS, "POST")
        tags = {name.rpartition(":")[2] for name in request.json()["substitutions"].values()}
        assert len(tags) == 1
        assert re.fullmatch(r"20\d{6}-\d{6}", tags.pop())

    def test_the_template_file(self, script, door, tmp_path):
        """Gcloud's own template file, plus what gcloud leaves out of the metadata."""
        script("build.sh", "--image", IMAGE)
        metadata = FLEX / "metadata.json"
        told = written(door)
        assert told["metadata"] == json.loads(metadata.read_text("utf-8"))
        printed = gcloud(
            door, tmp_path, "dataflow", "flex-template", "build", TEMPLATE, "--print-only",
            f"--image={IMAGE}", "--sdk-language=PYTHON", f"--metadata-file={metadata}",
            "--enable-streaming-engine", "--project=demo-project",
        )  # fmt: skip
        by_gcloud = json.loads(yaml.safe_load(printed))  # JSON as a block of YAML
        left_out = told["metadata"].keys() - by_gcloud["metadata"].keys()
        assert left_out == {"streaming", "supportsAtLeastOnce", "supportsExactlyOnce"}, (
            "gcloud leaves out less than it did: let build.sh use it"
        )
        for name in left_out:
            by_gcloud["metadata"][name] = told["metadata"][name]
        assert told == by_gcloud

    def test_an_image_that_is_there(self, script, door):
        """Nothing is built."""
        done = script("build.sh", "--image", "us-docker.pkg.dev/p/r/i:2")
        assert done.stdout.endswith(f"{TEMPLATE}\n")
        assert door.asked(BUILDS) == []
        assert written(door)["image"] == "us-docker.pkg.dev/p/r/i:2"

    def test_a_build_that_fails(self, script, door):
        """The template of before stays."""
        script("build.sh", "--image", "us-docker.pkg.dev/p/r/i:3")
        door.answers[BUILDS] = lambda request: failed(built(request))
        done = script("build.sh", code=1)
        assert "FAILURE" in done.stderr
        assert written(door)["image"] == "us-docker.pkg.dev/p/r/i:3"


def failed(answer):
    """An answer of Cloud Build, of a build that failed."""
    build = answer.body if "status" in answer.body else answer.body["metadata"]["build"]
    build["status"] = "FAILURE"
    return answer


class TestRun:
    def launched(self, door):
        """The one launch that was asked for."""
        [request] = door.asked(JOBS, "POST")
        assert request.path == (
            "/v1b3/projects/demo-project/locations/us-east1/flexTemplates:launch"
        )
        return request.json()["launchParameter"]

    def test_without_options(self, script, door):
        """The usual job, as the account that setup.sh made, on Streaming Engine."""
        done = script("run.sh")
        assert "id: FLEX-1" in done.stdout
        assert self.launched(door) == {
            "jobName": "issues-pubsub-to-bq",
            "containerSpecGcsPath": TEMPLATE,
            "environment": {
                "serviceAccountEmail": "issues-pipeline@demo-project.iam.gserviceaccount.com",
                "stagingLocation": "gs://bucket-1/staging",
                "tempLocation": "gs://bucket-1/temp",
                "enableStreamingEngine": True,
                "numWorkers": 1,
                "maxWorkers": 5,
                "launcherMachineType": "e2-standard-2",
            },
        }

    def test_the_usual_name(self):
        """Of the job: the command line's own."""
        [name] = [option.default for option in OPTIONS if option.name == "job_name"]
        text = (FLEX / "run.sh").read_text("utf-8")
        assert f" job={name} " in text
        assert f"(default: {name})" in text

    def test_with_every_option(self, script, door):
        """Each has a place in the request; values keep their commas and equals signs."""
        overrides = ".*beam_java.*,us-docker.pkg.dev/p/r/java:2"
        script(
            "run.sh",
            *("--job", "job-2", "--account", "worker@demo-project.iam.gserviceaccount.com"),
            *("--machine-type", "n2-standard-4", "--workers", "2", "--max-workers", "9"),
            *("--launcher-machine-type", "e2-standard-4", "--private"),
            *("--network", "net", "--subnetwork", "regions/us-east1/subnetworks/sub"),
            *("--kms-key", "projects/p/locations/l/keyRings/r/cryptoKeys/k"),
            *("--label", "team=a", "--label", "cost=b", "--experiment", "one"),
            *("--experiment", "two=a,b", "--option", "disk_size_gb=50"),
            *("--parameter", "sdk_container_image=us-docker.pkg.dev/p/r/python:2"),
            *("--parameter", f"sdk_harness_container_image_overrides={overrides}"),
            *("--parameter", "output_dataset=demo-project.issues_ds"),
        )
        assert self.launched(door) == {
            "jobName": "job-2",
            "containerSpecGcsPath": TEMPLATE,
            "environment": {
                "serviceAccountEmail": "worker@demo-project.iam.gserviceaccount.com",
                "machineType": "n2-standard-4",
                "numWorkers": 2,
                "maxWorkers": 9,
                "launcherMachineType": "e2-standard-4",
                "ipConfiguration": "WORKER_IP_PRIVATE",
                "network": "net",
                "subnetwork": "regions/us-east1/subnetworks/sub",
                "kmsKeyName": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
                "additionalUserLabels": {"team": "a", "cost": "b"},
                "additionalExperiments": ["one", "two=a,b"],
                "additionalPipelineOptions": ["disk_size_gb=50"],
                "stagingLocation": "gs://bucket-1/staging",
                "tempLocation": "gs://bucket-1/temp",
                "enableStreamingEngine": True,
            },
            "parameters": {
                "sdk_container_image": "us-docker.pkg.dev/p/r/python:2",
                "sdk_harness_container_image_overrides": overrides,
                "output_dataset": "demo-project.issues_ds",
            },
        }

    def test_an_update(self, script, door):
        """It says so, and which steps were renamed."""
        script("run.sh", "--update", "--mapping", "Old/Step=New/Step", "--mapping", "A=B")
        told = self.launched(door)
        assert told["update"] is True
        assert told["transformNameMappings"] == {"Old/Step": "New/Step", "A": "B"}

    def test_a_refusal(self, script, door):
        """What Dataflow answers is on the screen, and the exit code is not 0."""
        door.answers[JOBS, "POST"] = error(400, "Unrecognized parameter: outpt_dataset")
        done = script("run.sh", "--parameter", "outpt_dataset=d", code=1)
        assert "Unrecognized parameter: outpt_dataset" in done.stderr


def test_ignored():
    """What docker is given is what the Dockerfile copies of the checkout."""
    out, back_in = kept(FLEX / "Dockerfile.dockerignore")
    assert back_in == copied(FLEX / "Dockerfile")
    assert out == ["*", "**/__pycache__", "**/*.pyc"]
