"""What must hold after a load, whatever happened during it.

- Each request answered 2xx is on the topic.
- What is on the topic without a 2xx is at most a repeat: every message of a request has the same
  `event_id`, and nothing is there that no request brought.
- The issue id that was answered is the one on the topic.
"""

import json
from dataclasses import dataclass, field

from bench.publisher.requests import Stream, event, issue
from bench.publisher.tally import Tally
from bench.publisher.topic import OnTopic


@dataclass(frozen=True, slots=True)
class Account:
    """The ledger of one phase.

    Args:
        phase: Its name.
        statuses: Answers by status; 0 is none.
        taken: Requests answered 2xx.
        on_topic: Requests whose message is on the topic.
        repeats: Messages beyond the first of a request.
        missing: Answered 2xx and not on the topic.
        wrong: Requests with more than one `event_id`, or another issue id than was answered.
        unknown: Messages that no request brought.
        notes: What else was seen.
        faults: What must not be, beyond these; a sentence each.
    """

    phase: str
    statuses: dict[int, int]
    taken: int
    on_topic: int
    repeats: int
    missing: int
    wrong: int
    unknown: int
    notes: dict[str, float] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing was lost and nothing is there twice under two names."""
        return not (self.missing or self.wrong or self.unknown or self.faults)


def account(
    phase: str,
    tally: Tally,
    found: OnTopic,
    notes: dict[str, float] | None = None,
    faults: tuple[str, ...] = (),
) -> Account:
    """Compares by set what was answered with what is there."""
    taken = tally.taken()
    wrong = sum(len(ids) > 1 for ids in found.event_ids.values())
    wrong += sum(
        json.loads(body)["issue_id"] != found.issue_ids.get(number)
        for number, body in tally.bodies.items()
        if number in found.messages
    )
    return Account(
        phase=phase,
        statuses=tally.statuses(),
        taken=len(taken),
        on_topic=len(found.messages),
        repeats=found.messages.total() - len(found.messages),
        missing=len(taken - found.messages.keys()),
        wrong=wrong,
        unknown=found.unknown,
        notes=notes or {},
        faults=faults,
    )


def fresh() -> tuple[Stream, OnTopic]:
    """A new phase's requests, issues and events in turn, and where they are found again."""
    return Stream(issue(), event()), OnTopic()
