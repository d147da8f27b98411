"""What a launch does where a job of its name runs: nothing, an update, or a drain."""

import json

import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from pipeline.launch import DONE, REFUSED
from tests.dataflow.conftest import LAUNCH
from tests.dataflow.door import JOBS, STORAGE, error

NAME = "issues-pubsub-to-bq"
GRAPH = "gs://bucket/tmp/running/pipeline.pb"


def sent(door):
    """What reached the service or the bucket that was no question."""
    return [
        (each.method, each.host, each.path)
        for each in door.heard
        if each.host in (JOBS, STORAGE) and each.method != "GET"
    ]


def last(ended):
    return ended.said.splitlines()[-1]


@pytest.fixture(scope="module")
def graph(door_and_launcher):
    """The graph of a job that was launched before."""
    door, launch = door_and_launcher
    door.forget()
    assert launch(*LAUNCH).code == DONE
    [posted] = door.asked(JOBS, "POST")
    url = posted.json()["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
    return beam_runner_api_pb2.Pipeline.FromString(door.stored(url))


def running(door, graph, *, renamed=None, state="JOB_STATE_RUNNING"):
    """Puts a job there whose graph is this one, a step perhaps by another name."""
    left = beam_runner_api_pb2.Pipeline.FromString(graph.SerializeToString())
    for new, old in (renamed or {}).items():
        for each in left.components.transforms.values():
            if each.unique_name == new or each.unique_name.startswith(f"{new}/"):
                each.unique_name = old + each.unique_name[len(new) :]
    place = "/upload/storage/v1/b/bucket/o?uploadType=media&name=tmp%2Frunning%2Fpipeline.pb"
    status, _, _ = door.storage("POST", place, {}, left.SerializeToString())
    assert status == 200
    options = {"pipelineUrl": GRAPH}
    return door.runs(NAME, state, environment={"sdkPipelineOptions": {"options": options}})


def test_twice_does_nothing(door, launch):
    """A second launch says what runs since when, and sends nothing."""
    job = door.runs(NAME)
    ended = launch(*LAUNCH)
    assert ended.code == REFUSED
    assert last(ended) == (
        f"--job_name {NAME}: runs already, so nothing was started: {job['id']}, "
        "JOB_STATE_RUNNING since 2026-12-01T08:00:00Z (it goes on; --update replaces it, --drain "
        "ends it; a second one, by another --job_name, needs a subscription of its own, or rows "
        "come twice)"
    )
    assert sent(door) == []


def test_a_check_says_what_runs(door, launch):
    """`--check` counts a job that runs as a problem of a launch, and starts nothing."""
    door.runs(NAME)
    ended = launch(*LAUNCH, "--check", shown=True)
    assert ended.code == REFUSED
    assert "runs already" in ended.said
    assert sent(door) == []


def test_a_job_of_another_name_is_none(door, launch):
    """A job of another name, or one that has ended, is in nobody's way."""
    door.runs("another")
    door.runs(NAME, "JOB_STATE_DRAINED")
    ended = launch(*LAUNCH)
    assert ended.code == DONE, ended.said
    assert [each[0] for each in sent(door) if each[1] == JOBS] == ["POST"]


def test_an_update(door, launch, graph):
    """`--update` replaces the job that runs, by its id, where all its steps are in the new one."""
    job = running(door, graph)
    ended = launch(*LAUNCH, "--update")
    assert ended.code == DONE, ended.said
    [posted] = door.asked(JOBS, "POST")
    assert posted.json()["replaceJobId"] == job["id"]
    assert "transformNameMapping" not in posted.json()
    assert [each["currentState"] for each in door.jobs] == [
        "JOB_STATE_UPDATED",
        "JOB_STATE_RUNNING",
    ]


def test_an_update_of_nothing(door, launch):
    """`--update` without such a job is a sentence, and starts none."""
    ended = launch(*LAUNCH, "--update")
    assert ended.code == REFUSED
    assert last(ended).startswith(
        f"--update: no job of the name {NAME} runs in this project and region"
    )
    assert sent(door) == []


def test_an_update_of_a_job_that_drains(door, launch, graph):
    """Only a job that runs can be replaced."""
    running(door, graph, state="JOB_STATE_DRAINING")
    ended = launch(*LAUNCH, "--update")
    assert ended.code == REFUSED
    assert "only a job that runs can be updated" in last(ended)
    assert "JOB_STATE_DRAINING" in last(ended)
    assert sent(door) == []


def test_a_renamed_step_is_refused(door, launch, graph):
    """A step that the new job lacks is refused with the mapping to give; with it, it goes on."""
    job = running(door, graph, renamed={"ShapeRows": "MakeRows"})
    ended = launch(*LAUNCH, "--update")
    assert ended.code == REFUSED
    said = last(ended)
    assert said.startswith(
        "--update: the running job has steps that the new one has not, and what they hold would be "
        "lost: MakeRows ("
    )
    assert sent(door) == []
    door.heard.clear()
    ended = launch(*LAUNCH, "--update", '--transform_name_mapping={"MakeRows": "ShapeRows"}')
    assert ended.code == DONE, ended.said
    [posted] = door.asked(JOBS, "POST")
    assert posted.json()["transformNameMapping"] == {"MakeRows": "ShapeRows"}
    assert posted.json()["replaceJobId"] == job["id"]


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        (
            {"ShapeRows": "ShapedRows"},
            "maps ShapeRows onto ShapedRows, and the new job has no such step",
        ),
        (
            {"ShapedRows": "ShapeRows"},
            "maps ShapedRows, and the running job has no such step",
        ),
    ],
)
def test_a_mapping_onto_nothing_is_refused(door, launch, graph, mapping, said):
    """A mapping from or onto a step that is not there is refused before anything is sent."""
    running(door, graph)
    ended = launch(*LAUNCH, "--update", f"--transform_name_mapping={json.dumps(mapping)}")
    assert ended.code == REFUSED
    assert last(ended) == f"--transform_name_mapping: {said} (did you mean ShapeRows?)"
    assert sent(door) == []


def test_a_graph_that_is_gone_is_said(door, launch):
    """A running job whose graph was deleted is left to the service to compare, and that is said."""
    place = "gs://bucket/tmp/gone/pipeline.pb"
    environment = {"sdkPipelineOptions": {"options": {"pipelineUrl": place}}}
    job = door.runs(NAME, environment=environment)
    ended = launch(*LAUNCH, "--update")
    assert ended.code == DONE, ended.said
    assert f"not checked: the graph of {job['id']} is not to be had at {place}" in ended.said


DRAIN = (*LAUNCH[:6], "--drain")


def test_a_drain(door, launch):
    """`--drain` asks for JOB_STATE_DRAINING, never for a cancel, and for nothing else."""
    job = door.runs(NAME)
    ended = launch(*DRAIN)
    assert ended.code == DONE, ended.said
    assert f"told to drain: {job['id']}" in last(ended)
    [(method, host, path)] = sent(door)
    assert (method, host) == ("PUT", JOBS)
    assert path == f"/v1b3/projects/demo-project/locations/us-central1/jobs/{job['id']}"
    [asked] = door.asked(JOBS, "PUT")
    assert asked.json() == {"requestedState": "JOB_STATE_DRAINING"}
    assert "CANCEL" not in str(door.heard)


def test_a_drain_twice(door, launch):
    """A job that drains is told so once."""
    door.runs(NAME, "JOB_STATE_DRAINING")
    ended = launch(*DRAIN)
    assert ended.code == DONE
    assert "drains already" in last(ended)
    assert sent(door) == []


def test_a_drain_of_nothing(door, launch):
    """Without such a job there is nothing to drain."""
    ended = launch(*DRAIN)
    assert ended.code == REFUSED
    assert last(ended).startswith(f"--drain: no job of the name {NAME} runs")


def test_a_drain_that_is_refused(door, launch):
    """What the service says against it is the user's to read."""
    door.runs(NAME)
    door.answers[JOBS, "PUT"] = error(403, "permission dataflow.jobs.update denied")
    ended = launch(*DRAIN)
    assert ended.code == REFUSED
    assert "403: permission dataflow.jobs.update denied" in last(ended)
