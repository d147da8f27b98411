"""Whether what is parked stays: the lifecycle rules of the place's bucket.

https://cloud.google.com/storage/docs/lifecycle has the conditions: a rule acts on what meets all
of them.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline import refusals
from pipeline.jobs import bucket_of
from schemas.problem import Problem

# Of former versions, and of files that were given a time of their own.
_OF_OTHERS = (
    *("numNewerVersions", "daysSinceNoncurrentTime", "noncurrentTimeBefore"),
    *("daysSinceCustomTime", "customTimeBefore"),
)
_SUFFIX = ".jsonl"


def deleting_problems(bucket: Mapping[str, Any], option: str, place: str) -> list[Problem]:
    """What deletes parked letters, by a bucket's own description.

    Args:
        bucket: As the JSON API shows it (`buckets.get`).
        option: For the problem.
        place: `gs://BUCKET/FOLDER` of the letters.
    """
    folder = place.removeprefix(f"gs://{bucket_of(place)}").strip("/") + "/"
    rules = bucket.get("lifecycle", {}).get("rule", ())
    return [
        refusals.PARK_DELETED.at(f"{option} {place}", age=_age(rule.get("condition", {})))
        for rule in rules
        if rule.get("action", {}).get("type") == "Delete"
        and _meets(rule.get("condition", {}), folder)
    ]


def _meets(condition: Mapping[str, Any], folder: str) -> bool:
    """Whether a letter, which is the live and only version of its file, ever meets it."""
    if condition.get("isLive") is False or any(name in condition for name in _OF_OTHERS):
        return False
    if condition.get("createdBefore", "9999") <= datetime.now(UTC).date().isoformat():
        return False
    prefixes, suffixes = condition.get("matchesPrefix"), condition.get("matchesSuffix")
    if prefixes and not any(
        folder.startswith(each) or each.startswith(folder) for each in prefixes
    ):
        return False
    return not suffixes or any(
        _SUFFIX.endswith(each) or each.endswith(_SUFFIX) for each in suffixes
    )


def _age(condition: Mapping[str, Any]) -> str:
    age = condition.get("age")
    return "" if age is None else f" after {age} days"
