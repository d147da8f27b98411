"""Every gcloud command of the scripts and pages is one that gcloud's own parser takes."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy/publisher/deploy.sh"
FLEX = ROOT / "deploy/flex"
SETUP, BUILD, RUN = FLEX / "setup.sh", FLEX / "build.sh", FLEX / "run.sh"
SOURCED = ROOT / "deploy/commands.sh"
ARGUMENTS = ("--project", "demo-project", "--region", "us-east1")
BUCKET = ("--bucket", "bucket-1")
# Each script with the ways to call it that give other commands.
SCRIPTS = {
    SETUP: (BUCKET,),
    BUILD: (BUCKET, (*BUCKET, "--image", "us-docker.pkg.dev/p/r/i:1")),
    RUN: (
        BUCKET,
        (
            *(*BUCKET, "--update", "--mapping", "Old/Step=New/Step", "--mapping", "A=B"),
            *("--parameter", "output_dataset=d", "--parameter", "dataflow_service_options=a,b"),
            *("--option", "disk_size_gb=50", "--label", "team=a", "--experiment", "e=1"),
            *("--job", "j", "--account", "a@b.c", "--machine-type", "n2-standard-2", "--private"),
            *("--workers", "2", "--max-workers", "9", "--launcher-machine-type", "e2-medium"),
            *("--network", "n", "--subnetwork", "regions/us-east1/subnetworks/s"),
            *("--kms-key", "projects/p/locations/l/keyRings/r/cryptoKeys/k"),
        ),
    ),
    DEPLOY: (
        (),
        (
            *("--image", "us-docker.pkg.dev/p/r/i:1", "--metrics", "--env", "MESSAGE_FORMAT=flat"),
            *("--auth-context", "--document", "users/{user}/issues/{issue}", "--trigger", "users"),
        ),
    ),
}
PAGES = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
)
NO_ACCOUNT = "You do not currently have an active account selected"


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The environment of a gcloud that knows no account and reaches nothing."""
    folder = str(tmp_path_factory.mktemp("gcloud"))
    return {
        "PATH": os.environ["PATH"],
        "HOME": folder,
        "CLOUDSDK_CONFIG": folder,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
        "CLOUDSDK_PROXY_TYPE": "http",
        "CLOUDSDK_PROXY_ADDRESS": "127.0.0.1",
        "CLOUDSDK_PROXY_PORT": "9",
    }


@pytest.fixture(scope="module")
def complaints(alone, tmp_path_factory):
    """What gcloud has to say against commands: a dict of those that it does not take."""

    def check(commands):
        # The linter knows no command of several containers; those gcloud itself is asked about: it
        # parses the line before it finds that it has no account.
        several = [one for one in commands if any(a.startswith("--container=") for a in one)]
        wrong = {
            shlex.join(one): error for one in several if (error := parsed_by_gcloud(alone, one))
        }
        lines = {shlex.join(one) for one in commands if one not in several}
        file = tmp_path_factory.mktemp("lint") / "commands.json"
        rows = [{"command_string": line, "id": n} for n, line in enumerate(sorted(lines), 1)]
        file.write_text(json.dumps(rows))
        done = subprocess.run(
            ["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={file}"],
            env=alone, capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        answers = json.loads(done.stdout)
        assert len(answers) == len(lines)
        return wrong | {
            one["command_string"]: one["error_message"] for one in answers if not one["success"]
        }

    return check


def parsed_by_gcloud(alone, command):
    """What gcloud says against a command that it can't carry out; '' when it parses."""
    done = subprocess.run(
        command, env=alone, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    return "" if NO_ACCOUNT in done.stderr else done.stderr


def dry_run(script, *arguments):
    """The commands that a script would carry out."""
    done = subprocess.run(
        ["bash", script, *ARGUMENTS, "--dry-run", *arguments],
        env={"PATH": os.environ["PATH"]},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    commands = [shlex.split(line) for line in done.stdout.splitlines()]
    assert all(command[0] == "gcloud" for command in commands)
    return commands


def in_shell(text):
    """The gcloud commands in lines of shell, wherever in a pipe or a substitution."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command = []
        for word in [*words, ";"]:
            if set(word) <= set("();<>|&"):
                if command[:1] == ["gcloud"]:
                    yield command
                command = []
            else:
                command.append(word)


def in_page(text):
    """The gcloud commands of a page: those in fences, and those in the text's own code spans."""
    fence = re.compile(r"^ *```[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
    for block in fence.findall(text):
        if "gcloud" in block:
            yield from in_shell(block)
    for span in re.findall(r"`(gcloud [^`]+)`", fence.sub("", text)):
        yield from in_shell(" ".join(span.split()))


def test_every_script_is_known():
    """A new script must say how its commands are checked."""
    assert set((ROOT / "deploy").rglob("*.sh")) == {*SCRIPTS, SOURCED}


@pytest.mark.emulators
def test_commands(complaints):
    """Gcloud takes every command of every script, in each way to call it, and of every page."""
    commands = [
        command
        for script, ways in SCRIPTS.items()
        for way in ways
        for command in dry_run(script, *way)
    ]
    commands += [command for page in PAGES for command in in_page(page.read_text("utf-8"))]
    assert len(commands) > 60
    assert complaints(commands) == {}


@pytest.mark.emulators
def test_wrong_commands_are_found(complaints):
    """The check itself: a wrong flag, value, verb or probe is found, with one container or more."""
    text = """
Text with `gcloud pubsub topics crate x`, and

```sh
gcloud run deploy s --image=i --bogus=1
echo x | gcloud secrets versions add n --data-files=- && true
URL=$(gcloud run services describe s \\
  --regions=r)
gcloud run deploy s --image=i --concurrency=many
gcloud run deploy s --project=p --region=r --container=a --image=i --port=1 \\
  --container=b --image=j --startup-probe=bogus=1
gcloud run deploy s --project=p --region=r --container=a --image=i --port=1 \\
  --container=b --image=j --depends-upon=a
gcloud run deploy s --project=p --region=r --container=a --image=i --port=1 \\
  --container=b --image=j --depends-on=a
```
"""
    commands = list(in_page(text))
    assert len(commands) == 8
    wrong = complaints(commands)
    assert set(wrong) == {shlex.join(one) for one in commands} - {shlex.join(commands[6])}


def test_wrong_calls():
    """A wrong option is one sentence and exit code 2, before anything is carried out."""
    for script, arguments, sentence in (
        *((script, (), "--project: is not set") for script in SCRIPTS),
        *((script, ("--project", "p"), "--region: is not set") for script in SCRIPTS),
        *((script, (*ARGUMENTS, "--bogus"), "--bogus: no such option") for script in SCRIPTS),
        *((script, ARGUMENTS, "--bucket: is not set") for script in (SETUP, BUILD, RUN)),
        (DEPLOY, (*ARGUMENTS, "--image"), "--image: has no value"),
        (DEPLOY, (*ARGUMENTS, "--metrics"), "--metrics: needs --image"),
        (DEPLOY, (*ARGUMENTS, "--env", "flat"), "--env: flat is not NAME=VALUE"),
        (BUILD, (*ARGUMENTS, *BUCKET, "--tag", "--image"), "--tag: has no value"),
        (RUN, (*ARGUMENTS, *BUCKET, "--parameter", "x"), "--parameter: x is not NAME=VALUE"),
        (RUN, (*ARGUMENTS, *BUCKET, "--label", "=x"), "--label: =x is not NAME=VALUE"),
        (RUN, (*ARGUMENTS, *BUCKET, "--option", "a=b|c"), "--option: a=b|c is not NAME=VALUE"),
        (RUN, (*ARGUMENTS, *BUCKET, "--mapping", "a=b"), "--mapping: needs --update"),
    ):
        done = subprocess.run(
            ["bash", script, *arguments],
            env={"PATH": os.environ["PATH"]},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"{script.name}: {sentence}")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_help(script):
    """The help names every option that there is."""
    done = subprocess.run(
        ["bash", script, "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    text = script.read_text("utf-8").replace("\\\n", " ")
    taken = set(re.findall(r"(?<!\()--[a-z-]+(?=(?: +\| --[a-z-]+)*\))", text))
    assert {"--project", "--region", "--dry-run", "--help"} <= taken
    assert set(re.findall(r"^  (--[a-z-]+)", done.stdout, re.MULTILINE)) == taken


# A gcloud that remembers what was created, and finds that alone.
FAKE = """#!{python} -IS
import sys
from pathlib import Path
record = Path(__file__).with_name("record")
words = [word for word in sys.argv[1:] if not word.startswith("--")]
with record.open("a") as file:
    print(*sys.argv[1:], sep="\\0", file=file)
made = record.read_text()
verb = next((w for w in words if w in ("create", "describe", "deploy", "list")), "")
if verb == "describe":
    kind, name = words[: words.index(verb)], words[-1]
    if kind[0] == "projects":
        print(1234567890)
    elif kind[:2] == ["firestore", "databases"]:
        print("nam5")
    elif name.startswith("projects/"):
        print("{audience}\\thttps://push.example/")
    else:
        name = name.split("@")[0]
        if "\\0".join([*kind, "create", name]) not in made:
            sys.exit("NOT_FOUND")
        if kind[0] == "eventarc":
            print("projects/demo-project/subscriptions/eventarc-sub")
elif verb == "list" and "versions" in words:
    print("{version}")
"""


class TestRuns:
    """The script carried out, with a gcloud that only remembers."""

    @pytest.fixture
    def deploy(self, tmp_path):
        def run(version="1", audience="https://hash.a.run.app", code=0):
            gcloud = tmp_path / "gcloud"
            gcloud.write_text(
                FAKE.replace("{python}", sys.executable)
                .replace("{version}", version)
                .replace("{audience}", audience)
            )
            gcloud.chmod(0o755)
            record = tmp_path / "record"
            seen = len(record.read_text().splitlines()) if record.exists() else 0
            done = subprocess.run(
                ["bash", DEPLOY, *ARGUMENTS],
                env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert done.returncode == code, done.stderr
            calls = [line.split("\0") for line in record.read_text().splitlines()[seen:]]
            return calls, done

        return run

    def test_twice(self, deploy):
        """The first run creates and the second creates nothing; both deploy and bind roles."""
        first, _ = deploy()
        second, done = deploy()
        created = [" ".join(call[:4]) for call in first if "create" in call]
        assert created == [
            "pubsub topics create issues-topic",
            "pubsub subscriptions create issues-pipeline-sub",
            "pubsub subscriptions create issues-debug-sub",
            "pubsub topics create issues-undelivered",
            "pubsub subscriptions create issues-undelivered-sub",
            "iam service-accounts create firestore-to-pubsub",
            "secrets create firestore-to-pubsub-api-keys --project=demo-project",
            "iam service-accounts create firestore-to-pubsub-trigger",
            "eventarc triggers create firestore-to-pubsub",
        ]
        assert [call for call in second if "create" in call] == []
        for calls in (first, second):
            assert sum(call[:2] == ["run", "deploy"] for call in calls) == 1
        assert done.stdout.endswith("https://firestore-to-pubsub-1234567890.us-east1.run.app\n")

    def test_order(self, deploy):
        """The topic has its subscription before the service is there, the service before events."""
        calls, _ = deploy()
        places = [
            next(n for n, call in enumerate(calls) if call[: len(start)] == start)
            for start in (
                ["pubsub", "subscriptions", "create", "issues-pipeline-sub"],
                ["run", "deploy"],
                ["eventarc", "triggers", "create"],
            )
        ]
        assert places == sorted(places)

    def test_roles(self, deploy):
        """Nobody has a role on more than what it is for."""
        calls, _ = deploy()
        roles = {
            (call[call.index("add-iam-policy-binding") + 1], option(call, "member"), role)
            for call in calls
            if "add-iam-policy-binding" in call and (role := option(call, "role"))
        }
        service = "serviceAccount:firestore-to-pubsub@demo-project.iam.gserviceaccount.com"
        trigger = "serviceAccount:firestore-to-pubsub-trigger@demo-project.iam.gserviceaccount.com"
        agent = "serviceAccount:service-1234567890@gcp-sa-pubsub.iam.gserviceaccount.com"
        subscription = "projects/demo-project/subscriptions/eventarc-sub"
        assert roles == {
            ("issues-topic", service, "roles/pubsub.publisher"),
            ("issues-topic", service, "roles/pubsub.viewer"),
            ("firestore-to-pubsub-api-keys", service, "roles/secretmanager.secretAccessor"),
            ("demo-project", trigger, "roles/eventarc.eventReceiver"),
            ("firestore-to-pubsub", trigger, "roles/run.invoker"),
            ("issues-undelivered", agent, "roles/pubsub.publisher"),
            (subscription, agent, "roles/pubsub.subscriber"),
        }

    def test_audience(self, deploy):
        """The audience of the trigger's own subscription is added once, and known afterwards."""
        known = "https://firestore-to-pubsub-1234567890.us-east1.run.app"
        first, _ = deploy()
        second, _ = deploy()
        both = f"EVENT_AUDIENCES={known},https://hash.a.run.app"
        updates = [call for call in first if call[:3] == ["run", "services", "update"]]
        assert [option(call, "update-env-vars") for call in updates] == [f"^|^{both}"]
        (deployed,) = [call for call in second if call[:2] == ["run", "deploy"]]
        assert option(deployed, "set-env-vars").endswith(both)
        assert [call for call in second if call[:3] == ["run", "services", "update"]] == []

    def test_no_audience(self, deploy):
        """Where the subscription names no audience, Pub/Sub takes the endpoint's address."""
        calls, _ = deploy(audience="")
        (update,) = [call for call in calls if call[:3] == ["run", "services", "update"]]
        assert option(update, "update-env-vars").endswith(",https://push.example/")

    def test_no_keys(self, deploy):
        """Without a key nothing is deployed, and it says what to do."""
        calls, done = deploy(version="", code=1)
        assert "has no version yet" in done.stderr
        assert "python -m publisher key CLIENT" in done.stderr
        assert [call for call in calls if "deploy" in call] == []


def option(call, name):
    """The value of an option."""
    return next(one.split("=", 1)[1] for one in call if one.startswith(f"--{name}="))


@pytest.mark.emulators
def test_upload(alone):
    """What `gcloud run deploy --source .` uploads is what the Dockerfile copies, and no more."""
    done = subprocess.run(
        ["gcloud", "meta", "list-files-for-upload", str(ROOT)],
        env=alone, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    copied = {
        str(file.relative_to(ROOT))
        for folder in ("publisher", "schemas")
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    expected = copied | {"Dockerfile", ".dockerignore", "constraints.txt"}
    assert set(done.stdout.split()) == expected
