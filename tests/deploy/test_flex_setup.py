"""What the job on Dataflow needs before its first launch, made by a gcloud that only remembers."""

import os
import subprocess
import sys

import pytest

from tests.deploy.test_gcloud_lines import ARGUMENTS, BUCKET, FAKE, SETUP, option

ACCOUNT = "issues-pipeline@demo-project.iam.gserviceaccount.com"


@pytest.fixture
def setup(tmp_path):
    """Runs the script; gives the gcloud commands, in order, and what it printed."""
    gcloud = tmp_path / "gcloud"
    gcloud.write_text(FAKE.replace("{python}", sys.executable))
    gcloud.chmod(0o755)
    record = tmp_path / "record"

    def run():
        seen = len(record.read_text().splitlines()) if record.exists() else 0
        done = subprocess.run(
            ["bash", SETUP, *ARGUMENTS, *BUCKET],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [line.split("\0") for line in record.read_text().splitlines()[seen:]], done.stdout

    return run


def test_twice(setup):
    """The first run creates, the second creates nothing; both bind the same roles."""
    first, _ = setup()
    second, _ = setup()
    assert [" ".join(call[:4]) for call in first if "create" in call] == [
        "storage buckets create gs://bucket-1",
        "artifacts repositories create issues",
        "pubsub topics create issues-dead-letter",
        "pubsub subscriptions create issues-dead-letter-sub",
        "iam service-accounts create issues-pipeline",
    ]
    assert [call for call in second if "create" in call] == []
    assert roles(first) == roles(second)


def roles(calls):
    return {
        (call[call.index("add-iam-policy-binding") + 1], option(call, "member"), role)
        for call in calls
        if "add-iam-policy-binding" in call and (role := option(call, "role"))
    }


def test_roles(setup):
    """The workers' account has no role on more than what it is for."""
    calls, _ = setup()
    assert {member for _, member, _ in roles(calls)} == {f"serviceAccount:{ACCOUNT}"}
    assert {(on, role) for on, _, role in roles(calls)} == {
        ("demo-project", "roles/dataflow.worker"),
        ("demo-project", "roles/dataflow.viewer"),
        ("issues-pipeline-sub", "roles/pubsub.subscriber"),
        ("issues-pipeline-sub", "roles/pubsub.viewer"),
        ("issues-topic", "roles/pubsub.viewer"),
        ("issues-dead-letter", "roles/pubsub.publisher"),
        ("issues-dead-letter", "roles/pubsub.viewer"),
        ("gs://bucket-1", "roles/storage.objectAdmin"),
        ("gs://bucket-1", "roles/storage.legacyBucketReader"),
        ("issues", "roles/artifactregistry.reader"),
    }


def test_dead_letters_are_kept(setup):
    """The subscription of the dead letters never expires, and keeps each a week."""
    calls, _ = setup()
    [made] = [call for call in calls if call[:3] == ["pubsub", "subscriptions", "create"]]
    assert option(made, "topic") == "issues-dead-letter"
    assert option(made, "message-retention-duration") == "7d"
    assert option(made, "expiration-period") == "never"


def test_what_is_left_to_do(setup):
    """The dataset's grant, as a statement of BigQuery's."""
    _, said = setup()
    assert "GRANT `roles/bigquery.dataEditor` ON SCHEMA `demo-project.issues_ds`" in said
    assert said.endswith(f'TO "serviceAccount:{ACCOUNT}";\n')
