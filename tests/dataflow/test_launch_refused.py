"""What stands in a launch's way ends it within 30 s, with one sentence that says what to do."""

import pytest

from pipeline.launch import REFUSED
from pipeline.watch import STALL_SECONDS
from tests.dataflow.conftest import LAUNCH
from tests.dataflow.door import JOBS, STORAGE, TOKENS, Answer, error

MOST_SECONDS = 30
LOGIN = (
    "(run gcloud auth application-default login, or name a service account's key in "
    "GOOGLE_APPLICATION_CREDENTIALS)"
)
BANNER = ("engine ", "writing ", "dead letters to ", "reading ", "* ")


# Seconds that Python and Beam may take on a busy machine before anything is asked.
_STARTS = 5


def refused(launch, *argv, **environment):
    """The one sentence of a launch that is refused."""
    ended = launch(*LAUNCH, *argv, **environment)
    assert ended.code == REFUSED, ended.said
    assert "Traceback" not in ended.said
    assert ended.seconds < MOST_SECONDS
    said = [
        line
        for line in ended.said.splitlines()
        if line and not line.startswith(("2026", *BANNER)) and not line[:4].isdigit()
    ]
    assert len(said) == 1, ended.said
    return said[0]


def posted(door):
    return door.asked(JOBS, "POST")


def uploaded(door):
    return [each for each in door.heard if each.host == STORAGE and each.method != "GET"]


@pytest.mark.parametrize("option", ["temp_location", "staging_location"])
def test_a_missing_bucket(door, launch, option):
    """A bucket that is not there is named, with the command that makes it."""
    said = refused(launch, f"--{option}=gs://no-such-bucket/tmp")
    assert said == (
        f"--{option} gs://no-such-bucket/tmp: there is no bucket no-such-bucket "
        "(create it: gcloud storage buckets create gs://no-such-bucket --location REGION)"
    )
    assert posted(door) == uploaded(door) == []


def test_parked_letters_that_would_be_deleted(door, launch):
    """A lifecycle rule that clears the place of parked letters is refused before anything is."""
    rule = {"action": {"type": "Delete"}, "condition": {"age": 3}}

    def ruled(request):
        here = request.path == "/storage/v1/b/bucket"
        return Answer(body={"name": "bucket", "lifecycle": {"rule": [rule]}}) if here else None

    door.answers[STORAGE, "GET"] = ruled
    said = refused(launch)
    assert said.startswith(
        "--park gs://bucket/parked: a lifecycle rule of its bucket deletes what is there after 3 "
    )
    assert posted(door) == uploaded(door) == []


def test_a_missing_bucket_of_parked_letters(door, launch):
    """It is looked for at a launch, not when the first letter is to go there."""
    said = refused(launch, "--park=gs://no-such-bucket/parked")
    assert said.startswith("--park gs://no-such-bucket/parked: there is no bucket no-such-bucket ")
    assert posted(door) == uploaded(door) == []


@pytest.mark.parametrize("place", ["gs://bucket", "bucket/tmp", "gs:///tmp"])
def test_a_place_that_is_none(door, launch, place):
    """Beam would make a bucket of its own choice; here it is a sentence."""
    said = refused(launch, f"--temp_location={place}")
    assert said == (
        f"--temp_location {place}: is not of the form gs://BUCKET/FOLDER "
        "(give --temp_location gs://BUCKET/tmp)"
    )
    assert posted(door) == uploaded(door) == []


def test_no_credentials(door, launch):
    """Without any, Beam would wait for a browser."""
    said = refused(launch, GOOGLE_APPLICATION_CREDENTIALS=None)
    assert said.startswith("credentials: ")
    assert said.endswith(LOGIN)
    assert posted(door) == uploaded(door) == []


@pytest.mark.parametrize(
    "content",
    ["{", "{}", '{"type": "service_account"}', "not JSON"],
    ids=["cut", "empty", "without-a-key", "no-json"],
)
def test_malformed_credentials(door, launch, content, tmp_path):
    """A key file that is none is named."""
    file = tmp_path / "key.json"
    file.write_text(content)
    said = refused(launch, GOOGLE_APPLICATION_CREDENTIALS=str(file))
    assert said.startswith("credentials: ")
    assert str(file) in said
    assert posted(door) == uploaded(door) == []


def test_a_key_that_was_taken_back(door, launch):
    """`invalid_grant`: the account's key has been deleted, or the login has expired."""
    door.answers[TOKENS] = Answer(
        400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    )
    said = refused(launch)
    assert said.startswith("credentials: ")
    assert "invalid_grant: Invalid JWT Signature." in said
    assert posted(door) == uploaded(door) == []


def test_nobody_gives_tokens(door, launch):
    """A token that does not come ends the launch too."""
    door.answers[TOKENS] = Answer(silent=True)
    said = refused(launch)
    assert said.startswith("credentials: ")
    assert posted(door) == uploaded(door) == []


@pytest.mark.parametrize("host", [JOBS, STORAGE])
def test_a_host_that_is_not_reached(door, launch, host):
    """No connection: the host is named."""
    door.closed.add(host)
    said = refused(launch)
    assert f"{host} does not answer: " in said
    assert said.endswith(
        "(look at this machine's network and https_proxy, then launch again; nothing was started)"
    )
    assert posted(door) == uploaded(door) == []


@pytest.mark.parametrize("host", [JOBS, STORAGE])
def test_a_host_that_is_silent(door, launch, host):
    """A connection and no answer: the same."""
    door.answers[host] = Answer(silent=True)
    said = refused(launch)
    assert f"{host} does not answer: " in said
    assert posted(door) == []


def test_a_check_is_over_in_time(door, launch):
    """Where nothing is to be started a host that is silent is waited for less long."""
    door.answers[JOBS] = Answer(silent=True)
    ended = launch(*LAUNCH, "--check", shown=True)
    assert ended.code == REFUSED, ended.said
    assert ended.seconds < 10 + _STARTS
    assert posted(door) == []


def test_no_network(door, launch):
    """Nothing is reached at all."""
    said = refused(launch, https_proxy="http://127.0.0.1:9")
    assert said.startswith("credentials: ") or "does not answer" in said
    assert posted(door) == uploaded(door) == []


def test_the_jobs_may_not_be_listed(door, launch):
    """A missing role, or an API that is not enabled, is said with what to grant."""
    door.answers[JOBS] = error(403, "Dataflow API has not been used in project 1 before")
    said = refused(launch)
    assert said == (
        "jobs of demo-project in us-central1: the service answers 403: Dataflow API has not been "
        "used in project 1 before (give the project and the region of the job, enable "
        "dataflow.googleapis.com, and grant this account roles/dataflow.developer)"
    )


def test_a_bucket_that_may_not_be_written(door, launch):
    """The first file that is refused ends the launch; nothing is posted."""
    door.answers[STORAGE, "POST"] = error(403, "launcher does not have storage.objects.create")
    said = refused(launch)
    assert said.startswith("gs://bucket/tmp/")
    assert said.endswith(
        ": not staged, and nothing was started: Cloud Storage answers 403: launcher does not have "
        "storage.objects.create (grant this account roles/storage.objectAdmin on the bucket)"
    )
    # Its own client tries within one file; the file itself is tried once.
    tried = [each for each in door.heard if each.query.get("projection") == "noAcl"]
    assert len([each for each in tried if each.path.endswith("/bucket")]) == 1
    assert posted(door) == []


NOT_READY = "what the workers install: could not be made ready, and nothing was started: "


@pytest.mark.parametrize(
    ("option", "file"),
    [
        ("setup_file", "setup.py"),
        ("extra_package", "none.tar.gz"),
        ("requirements_file", "none.txt"),
    ],
)
def test_what_is_to_be_installed_is_not_there(door, launch, tmp_path, option, file):
    """The file is named."""
    said = refused(launch, f"--{option}={tmp_path / file}")
    assert said.startswith(NOT_READY)
    assert str(tmp_path / file) in said
    assert posted(door) == []


def test_a_setup_file_that_fails(door, launch, tmp_path):
    """What the build itself says comes first, and then the sentence."""
    (tmp_path / "setup.py").write_text("raise ValueError('of the user')")
    ended = launch(*LAUNCH, f"--setup_file={tmp_path / 'setup.py'}")
    assert ended.code == REFUSED
    assert "ValueError: of the user" in ended.said
    assert ended.said.splitlines()[-1].startswith(NOT_READY)
    assert posted(door) == []


@pytest.mark.parametrize("method", ["POST", "PUT"], ids=["at its begin", "in its content"])
def test_a_file_that_stalls(door, launch, method):
    """Cloud Storage answers at first, and is silent while a file is staged; nothing is posted."""
    door.answers[STORAGE, method] = Answer(silent=True)
    said = refused(launch)
    assert said.startswith("gs://bucket/tmp/")
    assert said.endswith(
        f": Cloud Storage took nothing of it for {STALL_SECONDS:.0f} s, and nothing was started "
        "(look at this machine's network, then launch again)"
    )
    assert posted(door) == []


def test_the_service_takes_no_job(door, launch):
    """503 to the post: asked four times with one request id, then told, and how to look."""
    door.answers[JOBS, "POST"] = error(503, "The service is currently unavailable.")
    said = refused(launch)
    assert said == (
        "job issues-pubsub-to-bq: was posted, and is not there so far: the service answers 503: "
        "The service is currently unavailable. (look before you launch again: gcloud dataflow "
        "jobs list --region us-central1 --status active --filter name=issues-pubsub-to-bq)"
    )
    assert len(posted(door)) == 4
    assert len({each.json()["clientRequestId"] for each in posted(door)}) == 1


def test_the_service_is_back_after_a_moment(door, launch):
    """503 once: the same request goes through the second time, and there is one job."""

    def once(request):
        return error(503, "busy") if len(posted(door)) == 1 else None

    door.answers[JOBS, "POST"] = once
    ended = launch(*LAUNCH)
    assert ended.code == 0, ended.said
    assert len(posted(door)) == 2
    assert len(door.jobs) == 1


def test_the_answer_is_lost(door, launch):
    """The service made the job and its answer did not come: the launcher finds the job."""

    def made_in_silence(request):
        door._of_jobs(request)
        return Answer(silent=True)

    door.answers[JOBS, "POST"] = made_in_silence
    said = refused(launch)
    [job] = door.jobs
    assert said.startswith(
        f"job issues-pubsub-to-bq: was posted, and {job['id']}, JOB_STATE_RUNNING since "
        "2026-12-01T08:00:00Z is there now, though: the service did not answer in time"
    )


@pytest.mark.parametrize(
    ("code", "message", "remedy"),
    [
        (
            403,
            "(abc): Current user cannot act as service account.",
            (
                "grant this account roles/dataflow.developer on demo-project, and "
                "roles/iam.serviceAccountUser on the workers' account"
            ),
        ),
        (400, "(abc): The workflow could not be created.", "mend what it says, and launch again"),
    ],
)
def test_the_job_is_refused(door, launch, code, message, remedy):
    """The service's own words, and what to do; it is asked once."""
    door.answers[JOBS, "POST"] = error(code, message)
    said = refused(launch)
    assert said == (
        f"job issues-pubsub-to-bq: the service answers {code}, and nothing was started: "
        f"{message} ({remedy})"
    )
    assert len(posted(door)) == 1


def test_another_launch_was_faster(door, launch):
    """A job of the name that appears between the question and the post goes on, and is named."""

    def faster(request):
        if not door.jobs:
            door.runs("issues-pubsub-to-bq", clientRequestId="another")

    door.answers[JOBS, "POST"] = faster
    said = refused(launch)
    [job] = door.jobs
    assert said == (
        f"--job_name issues-pubsub-to-bq: another launch was faster: {job['id']} runs under this "
        "name (it goes on)"
    )
