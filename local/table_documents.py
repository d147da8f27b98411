"""What the sample writes for the tables of `local/tables`, beside the shipped one's documents.

Each step is one event, as in `local/documents.py`.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from google.cloud import firestore

from local.documents import Fields, Step, given

CONFIDENTIAL = "confidential"
"""Stands in the names and values of the fields that `local/tables/projects.yaml` drops, and in no
other document, so that they can be looked for wherever they might show."""

_DROPPED = {
    "confidential": {"reserve": 250_000, "why": "confidential: do not tell"},
    "contact": {"name": "Ada", "confidential_phone": "confidential: 555 0100"},
}


def _project(name: str, **more: Any) -> Callable[[firestore.Client], Fields]:
    return lambda _: {"name": name, "tags": [], **_DROPPED, **more}


STEPS: tuple[Step, ...] = (
    Step(
        "projects/apollo",
        "set",
        "a project with fields that are dropped",
        _project(
            "Apollo",
            tags=["moon", "größer", ""],
            starts_at=datetime(2030, 7, 16, 15, 32, tzinfo=timezone(timedelta(hours=2))),
            budget={"amount": 25.8e9, "currency": "USD"},
        ),
    ),
    Step("projects/apollo", "update", "a typed column changes", given({"tags": ["moon", "done"]})),
    Step(
        "projects/apollo",
        "update",
        "nothing changes but what is dropped",
        given(
            {"contact.confidential_phone": "confidential: 555 0199", "confidential": "confidential"}
        ),
    ),
    Step("projects/apollo", "delete", "a project goes, with what was dropped of it"),
    Step(
        "projects/gemini",
        "set",
        "a project whose fields do not fit their columns",
        _project("Gemini", tags="two", starts_at="soon", budget={"amount": 10**17}),
    ),
    Step(
        "projects/mercury",
        "set",
        "a project whose map is no map where a field of it is dropped",
        given(
            {
                "name": "Mercury",
                "starts_at": datetime(1958, 10, 7, tzinfo=UTC),
                "contact": "nobody",
                "confidential": None,
            }
        ),
    ),
    Step("teams/green", "set", "a team", given({"name": "Grün", "size": 7})),
    Step("teams/green", "update", "a team that no longer has a size", given({"size": None})),
    Step(
        "issues/full/comments/1",
        "set",
        "a comment, under another issue than the one of the same id",
        given({"text": "Same id, another issue", "author": "grace", "likes": 3}),
    ),
    Step(
        "issues/full/comments/1",
        "update",
        "one more likes it",
        lambda _: {"likes": firestore.Increment(1)},
    ),
    Step(
        "issues/ü 'quoted'/comments/2 (50%25)",
        "set",
        "a comment whose path has odd ids, and whose issue is none",
        given({"text": "Odd path", "author": None}),
    ),
    Step(
        "projects/gemini/comments/1",
        "set",
        "a comment on no issue: its path matches no table's",
        given({"text": "Not on an issue"}),
    ),
    Step(
        "invoices/2030-1",
        "set",
        "a document of a collection that no table names",
        given({"title": "Invoice", "total": 99.9, "paid": False}),
    ),
)
