"""A bucket's lifecycle rules: which of them would delete what is parked."""

import pytest

from pipeline.engines import objections
from pipeline.options import parse
from pipeline.parking import deleting_problems

PLACE = "gs://bucket/parked/here"


def said(*conditions, action="Delete", place=PLACE):
    rules = [{"action": {"type": action}, "condition": each} for each in conditions]
    return [
        str(each) for each in deleting_problems({"lifecycle": {"rule": rules}}, "--park", place)
    ]


@pytest.mark.parametrize(
    "condition",
    [
        {"age": 7},
        {"age": 7, "matchesPrefix": ["tmp/", "parked/"]},
        {"age": 7, "matchesPrefix": ["parked/here/17"], "isLive": True},
        {"age": 7, "matchesSuffix": [".txt", "l"]},
        {"age": 7, "matchesSuffix": ["a.jsonl"]},
    ],
    ids=["all", "a folder above", "a part of it", "a suffix", "a suffix of some"],
)
def test_a_place_that_is_cleared(condition):
    """Refused, with when, and what to do."""
    [problem] = said(condition)
    assert problem == (
        f"--park {PLACE}: a lifecycle rule of its bucket deletes what is there after 7 days "
        "(give --park a place of another bucket, or the rule a matchesPrefix that leaves it out)"
    )


@pytest.mark.parametrize(
    "condition",
    [
        {"age": 7, "matchesPrefix": ["tmp/"]},
        {"age": 7, "matchesPrefix": ["parked/here-not"]},
        {"age": 7, "matchesSuffix": [".txt"]},
        {"isLive": False, "age": 7},
        {"numNewerVersions": 3},
        {"daysSinceNoncurrentTime": 3},
        {"daysSinceCustomTime": 3},
    ],
)
def test_a_place_that_is_left_alone(condition):
    """Rules of other files, and of former versions, are none of it."""
    assert said(condition) == []


def test_other_actions_delete_nothing():
    """A cheaper class keeps the file."""
    assert said({"age": 7}, action="SetStorageClass") == []
    assert deleting_problems({}, "--park", PLACE) == []


def test_without_an_age():
    """A rule by date is told as well."""
    [problem] = said({"createdBefore": "9999-01-01"})
    assert "deletes what is there (give" in problem
    # What is parked from now on was not created before a day that is over.
    assert said({"createdBefore": "2020-01-01"}) == []


@pytest.mark.parametrize("place", ["build/parked", "/tmp/parked", "gs://bucket", "s3://x/y"])
def test_a_place_that_is_gone_with_its_worker(place):
    """Dataflow's workers keep nothing; on this machine a folder is a place like any other."""
    flags = ["--project=demo-project", "--region=r", "--temp_location=gs://b/t"]
    given = parse(["--runner=DataflowRunner", *flags, f"--park={place}"], lambda: "")
    assert f"--park {place}" in [problem.where for problem in objections(given)]
    here = parse(["--project=demo-project", f"--park={place}"], lambda: "")
    assert objections(here) == []
