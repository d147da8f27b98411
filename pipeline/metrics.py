"""Every metric of the job, by namespace and name, with its meaning.

Beam counters: on Dataflow they are in the job's page and in Cloud Monitoring; on DirectRunner the
launcher adds them up over the stretches of a run and prints them when it ends (`RunTotals`).
"""

from collections.abc import Iterable
from typing import Any

ALL: dict[tuple[str, str], str] = {
    ("read", "messages"): "Messages taken from the subscription, repeats among them.",
    ("read", "bytes"): "Bytes of their data.",
    ("read", "bundles"): "Bundles that the read began.",
    ("deduplicate", "dropped"): "Messages dropped as duplicates.",
    ("deduplicate", "evicted_before_horizon"): (
        "Ids forgotten before the horizon, since the cache was full: the bound bites."
    ),
    ("decode", "good"): "Messages decoded into events.",
    ("decode", "failed"): "Messages that are no event: dead letters.",
    ("decode", "unexpected_errors"): "Of these, failures that nobody foresaw: look at the log.",
    ("shape", "good"): "Events shaped into rows.",
    ("shape", "failed"): "Events that no row can hold: dead letters.",
    ("shape", "unexpected_errors"): "Of these, failures that nobody foresaw: look at the log.",
    ("shape", "type_errors"): "Rows with a field that did not fit its column (in type_errors).",
    ("write", "rows"): "Rows that BigQuery has.",
    ("write", "failed"): "Rows that BigQuery refused: dead letters.",
    ("write", "streams"): "Write streams that were created.",
    ("dead_letters", "published"): "Dead letters that the dead-letter topic has.",
    ("dead_letters", "parked"): "Dead letters that Pub/Sub could not take: files under --park.",
    ("outage", "waits_bigquery"): "Attempts that had to be repeated while BigQuery was away.",
    ("outage", "waits_pubsub"): "Attempts that had to be repeated while Pub/Sub was away.",
}


class RunTotals:
    """Adds up the counters of a run's stretches."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str, str], int] = {}

    def add(self, counters: Iterable[Any]) -> None:
        """Adds the counters of one result (`result.metrics().query()["counters"]`).

        A counter of one name in two steps (three steps publish dead letters) is one sum.
        """
        for counter in counters:
            name = (counter.key.metric.namespace, counter.key.metric.name)
            if name in ALL:
                self._totals[name] = self._totals.get(name, 0) + counter.committed

    def __getitem__(self, name: tuple[str, str]) -> int:
        return self._totals.get(name, 0)

    def lines(self) -> list[str]:
        """One line a counter that is not zero, in the order above."""
        return [
            f"{namespace}.{name} {self._totals[namespace, name]}"
            for namespace, name in ALL
            if self._totals.get((namespace, name))
        ]
