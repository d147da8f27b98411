"""A failure, and the one builder of dead letters.

A dead letter's data are the original bytes; its attributes the original ones plus those below.
It is at least once, known by `event_id` and `dead_letter_attempt`, and can be replayed by
publishing it to the topic as it is: its `dedup_id` is the next attempt's, so that a replay is
not taken for a duplicate of the message that failed.
"""

from dataclasses import dataclass, field

from schemas.message import (
    DEDUP_ID,
    EVENT_ID,
    MAX_KEY_BYTES,
    MAX_VALUE_BYTES,
    RESERVED_PREFIX,
    Message,
    limit_problems,
)
from schemas.times import format_micros

STAGE = "dead_letter_stage"
ERROR = "dead_letter_error"
REASON = "dead_letter_reason"
TIME = "dead_letter_time"
JOB = "dead_letter_job"
ATTEMPT = "dead_letter_attempt"
NOTE = "dead_letter_note"
DATA = "dead_letter_data"
"""`row` where the data are a row as JSON, since the sink gave the row back without its message."""

DATA_ROW = "row"

# What a letter cannot be understood or replayed without is shed last.
_NEEDED = frozenset((EVENT_ID, DEDUP_ID, ATTEMPT, STAGE, ERROR, NOTE, DATA))
_OPTIONAL = (JOB, TIME, REASON)


@dataclass(frozen=True, slots=True)
class Failure:
    """A message that a step could not take on.

    Args:
        message: The original message, or (with `dead_letter_data: row`) a row as JSON.
        stage: `decode`, `shape` or `write`.
        error: The named type of what was wrong.
        reason: What was wrong and where, as a sentence.
    """

    message: Message
    stage: str
    error: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A failure as it is published.

    Args:
        data: The original bytes.
        attributes: Within Pub/Sub's limits, unless `unpublishable` says why not.
        unpublishable: Why Pub/Sub could not take it; empty when it can.
    """

    data: bytes
    attributes: dict[str, str] = field(default_factory=dict)
    unpublishable: str = ""


def dead_letter(failure: Failure, *, time: int, job: str) -> DeadLetter:
    """Builds the letter of a failure.

    What does not fit Pub/Sub's limits is shed in this order, and named in `dead_letter_note`:
    original attributes that Pub/Sub would refuse one by one; then, while there are too many or
    they are too large, our optional ones (job, time, reason), then the original ones, longest
    value first. The data are never cut. A letter that cannot be published all the same, since its
    data alone are too large, keeps every attribute, for it is parked whole.

    Args:
        failure: What failed.
        time: When, in microseconds since the Unix epoch.
        job: The name of the job.
    """
    message = failure.message
    attempt = _attempt(message) + 1
    attributes = {
        name: value for name, value in message.attributes.items() if not _refused(name, value)
    }
    shed = [name for name in message.attributes if name not in attributes]
    ours = {
        EVENT_ID: cut(message.event_id),
        DEDUP_ID: f"{cut(message.event_id, MAX_VALUE_BYTES - 12)}:{attempt}",
        STAGE: failure.stage,
        ERROR: cut(failure.error),
        REASON: cut(failure.reason),
        TIME: format_micros(time),
        JOB: cut(job),
        ATTEMPT: str(attempt),
    }
    attributes |= ours
    original = [name for name in attributes if name not in _NEEDED and name not in _OPTIONAL]
    original.sort(key=lambda name: (len(attributes[name]), name))
    sheddable = [*original, *reversed(_OPTIONAL)]
    while True:
        if shed:
            attributes[NOTE] = cut("left out: " + ", ".join(name[:64] for name in shed))
        problems = limit_problems(message.data, attributes)
        if not problems or not sheddable:
            break
        name = sheddable.pop()
        del attributes[name]
        shed.append(name)
    if problems:
        attributes = {**message.attributes, **ours}
    return DeadLetter(message.data, attributes, "; ".join(map(str, problems)))


def cut(text: str, limit: int = MAX_VALUE_BYTES) -> str:
    """The text in at most `limit` bytes of UTF-8, cut between characters, with a mark."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode()
    return raw[: limit - 3].decode("utf-8", "ignore") + "..."


def _attempt(message: Message) -> int:
    text = message.attribute(ATTEMPT)
    # A stranger's value is no reason to fail: it counts as none.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0


def _refused(name: str, value: str) -> bool:
    return (
        not name
        or len(name.encode()) > MAX_KEY_BYTES
        or len(value.encode()) > MAX_VALUE_BYTES
        or name.lower().startswith(RESERVED_PREFIX)
    )
