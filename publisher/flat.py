"""The flat message: what `MESSAGE_FORMAT=flat` publishes in place of a CloudEvent.

Data is a JSON object of exactly `issue_id`, `source`, `created_at` and `payload`, all strings, so
that Google's template PubSub_to_BigQuery writes it into a table of those four columns. See
docs/flat.md. Imported only where that is asked for: it brings the decoder of Firestore's protobuf,
which the usual format leaves to the job.
"""

import json
from collections.abc import Callable

from publisher.refused import Refused
from schemas.event import MANUAL, Event, Undecodable, decode_message
from schemas.message import DEDUP_ID, EVENT_ID, ISSUE_ID, Message, limit_problems
from schemas.problem import ProblemsFound
from schemas.times import format_micros, now_micros


def to_flat(message: Message, now: Callable[[], int] = now_micros) -> Message:
    """The message in the older form, with the ids that it had.

    It has no `ce-` attributes and no content type, by which the job tells the two forms apart. The
    payload is a manual issue's body as it came, or the document's fields as `docs/values.md` has
    them, those before the change where it was deleted. `created_at` is the event's time, else the
    document's update time, else now.

    Args:
        message: As intake makes it.
        now: Microseconds since the Unix epoch.

    Raises:
        Refused: 400 with the decoder's error and reason where the event can't be read: the usual
            format would make it a dead letter of the job, here nobody could read it. 413 where the
            flat message breaks Pub/Sub's limits: text inside of JSON text is longer.
    """
    try:
        event = decode_message(message)
    except Undecodable as error:
        raise Refused(400, f"{type(error).__name__}: {error}") from error
    if not isinstance(event, Event):
        raise Refused(400, "UnsupportedType: a row that comes back as a dead letter is no event")
    values = {
        "issue_id": event.issue_id,
        "source": event.source,
        "created_at": format_micros(now() if event.created_at is None else event.created_at),
        "payload": _payload(event),
    }
    data = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    ids = {EVENT_ID: message.event_id, DEDUP_ID: message.dedup_id}
    if issue_id := message.attribute(ISSUE_ID):
        ids[ISSUE_ID] = issue_id
    if problems := limit_problems(data, ids):
        raise Refused(413, str(ProblemsFound(problems)))
    return Message(data, ids)


def _payload(event: Event) -> str:
    if event.operation == MANUAL:
        return event.message.data.decode("utf-8")
    fields = event.old_fields if event.fields is None else event.fields
    return json.dumps(fields or {}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
