"""The job's alert policies: what gcloud makes of them, and that they watch what is there."""

import ast
import json
import os
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from local.resources import DEAD_LETTER_SUBSCRIPTION
from pipeline.dead_letters import PublishDeadLetters
from pipeline.options import parse
from schemas.failure import Failure
from schemas.message import Message

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/job/alerts"
FILES = sorted(FOLDER.iterdir())
CHANNEL = "projects/demo-project/notificationChannels/1"

# https://cloud.google.com/monitoring/api/metrics_gcp: the type's resource, and its kind of value.
METRICS = {
    "dataflow.googleapis.com/job/system_lag": ("dataflow_job", "GAUGE"),
    "dataflow.googleapis.com/job/data_watermark_age": ("dataflow_job", "GAUGE"),
    "dataflow.googleapis.com/job/is_failed": ("dataflow_job", "GAUGE"),
    "pubsub.googleapis.com/subscription/oldest_unacked_message_age": (
        "pubsub_subscription",
        "GAUGE",
    ),
    "pubsub.googleapis.com/subscription/num_undelivered_messages": (
        "pubsub_subscription",
        "GAUGE",
    ),
    "pubsub.googleapis.com/topic/send_message_operation_count": ("pubsub_topic", "DELTA"),
}


class Monitoring(BaseHTTPRequestHandler):
    """Cloud Monitoring's stand-in: notes what is posted and gives it back."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path.partition("?")[0], json.loads(body)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def create(tmp_path_factory):
    """Creates a policy from a file by the real gcloud; what was posted, and what gcloud said."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Monitoring)
    server.posted = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    folder = str(tmp_path_factory.mktemp("gcloud"))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": folder,
        "CLOUDSDK_CONFIG": folder,
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING": f"http://127.0.0.1:{server.server_port}/",
    }

    def run(file):
        del server.posted[:]
        done = subprocess.run(
            [
                *("gcloud", "alpha", "monitoring", "policies", "create", "--project=demo-project"),
                *(f"--policy-from-file={file}", f"--notification-channels={CHANNEL}"),
            ],
            env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return list(server.posted), done.stderr

    yield run
    server.shutdown()
    thread.join(10)
    server.server_close()


def conditions():
    return [
        (file.stem, condition)
        for file in FILES
        for condition in yaml.safe_load(file.read_text("utf-8"))["conditions"]
    ]


def filters(kind):
    return [
        (name, condition[kind]["filter"]) for name, condition in conditions() if kind in condition
    ]


def test_the_page_lists_every_policy():
    """Each file has a row, and each row a file."""
    text = (FOLDER.parent / "README.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+\.yaml)`", text, re.MULTILINE) != []
    assert sorted(re.findall(r"^\| `(\w+\.yaml)`", text, re.MULTILINE)) == [f.name for f in FILES]


@pytest.mark.emulators
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_gcloud_takes_each_policy_and_posts_it_whole(create, file):
    """Nothing is left out that the file says, so no key of it is unknown to the service."""
    posted, said = create(file)
    assert posted, said
    [(path, policy)] = posted
    assert path == "/v3/projects/demo-project/alertPolicies"
    declared = yaml.safe_load(file.read_text("utf-8"))
    assert policy == declared | {"notificationChannels": [CHANNEL]}


@pytest.mark.emulators
def test_gcloud_finds_a_wrong_type(create, tmp_path):
    """The check itself: with a word for its threshold a policy is not posted, and it says why."""
    file = tmp_path / "wrong.yaml"
    text = (FOLDER / "backlog.yaml").read_text("utf-8")
    file.write_text(text.replace("thresholdValue: 600", "thresholdValue: many"))
    posted, said = create(file)
    assert posted == []
    assert "thresholdValue" in said


@pytest.fixture(scope="module")
def messages():
    """The API's messages as gcloud has them: the fields of each, with the message in them or ''."""
    sdk = Path(shutil.which("gcloud")).resolve().parents[1]
    [file] = sdk.glob("lib/googlecloudsdk/generated_clients/apis/monitoring/v3/*_messages.py")
    found = {}
    for made in ast.parse(file.read_text("utf-8")).body:
        if isinstance(made, ast.ClassDef):
            fields = {}
            for line in made.body:
                if isinstance(line, ast.Assign) and isinstance(line.value, ast.Call):
                    first = line.value.args[0]
                    is_message = ast.unparse(line.value.func).endswith(".MessageField")
                    fields[line.targets[0].id] = first.value if is_message else ""
            found[made.name] = fields
    return found


def unknown_keys(messages, value, message):
    """The keys in a value that its message does not have, however deep."""
    if isinstance(value, list):
        return [key for each in value for key in unknown_keys(messages, each, message)]
    if not isinstance(value, dict) or not message:
        return []
    fields = messages[message]
    found = [key for key in value if key not in fields]
    for key in value.keys() & fields.keys():
        found += unknown_keys(messages, value[key], fields[key])
    return found


@pytest.mark.emulators
def test_every_key_is_the_api_s(messages):
    """Keys that gcloud's own client does not know it posts all the same; there are none."""
    for file in FILES:
        policy = yaml.safe_load(file.read_text("utf-8"))
        assert unknown_keys(messages, policy, "AlertPolicy") == []
        policy["conditions"][0]["conditionThreshold"] = {"aggregations": [{"bogus": 1}], "worse": 2}
        assert unknown_keys(messages, policy, "AlertPolicy") == ["worse", "bogus"]


def test_metrics_and_resources_are_the_job_s():
    """Each metric is one that is documented, of its own resource; each name is a default.

    That of the publisher's letters is the one that its deploy script makes.
    """
    undelivered = "issues-undelivered-sub"
    script = ROOT / "deploy/publisher/deploy.sh"
    made = subprocess.run(
        ["bash", script, "--project", "p", "--region", "r", "--dry-run"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert f"subscriptions create {undelivered} " in made.stdout
    settings = parse(["--project=demo-project"], lambda: "")
    names = {
        "job_name": {settings.job_name},
        "subscription_id": {
            settings.input_subscription.rpartition("/")[2],
            DEAD_LETTER_SUBSCRIPTION,
            undelivered,
        },
        "topic_id": {settings.dead_letter_topic.rpartition("/")[2]},
    }
    seen = set()
    for _, text in filters("conditionThreshold"):
        [metric] = re.findall(r'metric\.type = "([^"]+)"', text)
        [resource] = re.findall(r'resource\.type = "([^"]+)"', text)
        assert METRICS[metric][0] == resource
        seen.add(metric)
    assert seen == set(METRICS)
    for _, text in filters("conditionThreshold") + filters("conditionMatchedLog"):
        [(label, name)] = re.findall(r'resource\.labels\.(\w+) = "([^"]+)"', text)
        assert name in names[label]


def test_values_are_aligned_as_their_kind_asks():
    """The worst of a gauge, the sum of a delta over its period; lags in seconds, above zero."""
    for _, condition in conditions():
        if threshold := condition.get("conditionThreshold"):
            [metric] = re.findall(r'metric\.type = "([^"]+)"', threshold["filter"])
            [aggregation] = threshold["aggregations"]
            aligner = {"GAUGE": "ALIGN_MAX", "DELTA": "ALIGN_DELTA"}[METRICS[metric][1]]
            assert aggregation["perSeriesAligner"] == aligner
            assert threshold["comparison"] == "COMPARISON_GT"
            assert threshold["thresholdValue"] >= 0
    for file in FILES:  # gcloud posts any word here
        policy = yaml.safe_load(file.read_text("utf-8"))
        assert (policy["combiner"], policy["severity"]) in {("OR", "CRITICAL"), ("OR", "WARNING")}


def test_a_policy_on_the_log_stands_alone():
    """The API takes no other condition beside one on log entries, and wants a rate limit."""
    for file in FILES:
        policy = yaml.safe_load(file.read_text("utf-8"))
        on_log = ["conditionMatchedLog" in condition for condition in policy["conditions"]]
        if any(on_log):
            assert on_log == [True]
            assert policy["alertStrategy"]["notificationRateLimit"]


def test_what_is_logged_of_a_parked_letter_is_looked_for(tmp_path, caplog):
    """A letter too large for Pub/Sub is parked for real; the entry has every text of the filter."""
    [looked_for] = [text for name, text in filters("conditionMatchedLog") if name == "parked"]
    phrases = re.findall(r'jsonPayload\.message : "([^"]+)"', looked_for)
    assert len(phrases) == 2
    publish = PublishDeadLetters("projects/p/topics/t", str(tmp_path), "j", ride_out_outages=False)
    step = publish._step
    step.start_bundle()
    step.process(Failure(Message(b"x" * 10_000_001), "decode", "TooLarge", "r"))
    [entry] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert all(phrase in entry.getMessage() for phrase in phrases)
    assert len(list(tmp_path.iterdir())) == 1


def test_what_the_sink_throws_is_looked_for():
    """The exception that the canary sees, with the pinned Beam, is the filter's text."""
    [looked_for] = [text for name, text in filters("conditionMatchedLog") if name == "refused_row"]
    [exception] = re.findall(r'AND "(\w+)"', looked_for)
    canary = (ROOT / "tests/sinks/test_refused.py").read_text("utf-8")
    assert re.search(rf'assert "[\w.]*\.{exception}" in str\(error\)', canary)
