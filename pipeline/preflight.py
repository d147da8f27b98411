"""Before a start: what would lose or double data is refused, every reason at once."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, Unauthorized
from google.auth.exceptions import GoogleAuthError

from pipeline.dead_letters import write_parked
from pipeline.options import Settings
from pipeline.outages import is_transient
from pipeline.table_files import apply_command
from schemas import live
from schemas.apply import missing_columns
from schemas.problem import Problem

_CALL_DEADLINE = 3.0
_PATIENCE = 8.0
_PAUSE = 0.3

_log = logging.getLogger(__name__)


def preflight(settings: Settings, *, patience: float = _PATIENCE) -> list[Problem]:
    """Asks Pub/Sub and BigQuery whether the job can do its work.

    Args:
        settings: Of the job.
        patience: Seconds to wait for a service that does not answer. After that the question is
            logged as not checked, and is no problem: the job itself waits for the service.

    Returns:
        What would lose data or end the job; empty when all is well.
    """
    deadline = time.monotonic() + patience
    problems: list[Problem] = []
    try:
        _ask_all(settings, problems, deadline)
    except GoogleAuthError as error:
        remedy = "run gcloud auth application-default login, or aim the job at emulators"
        problems.append(Problem("credentials", str(error), remedy))
    return problems


def _ask_all(settings: Settings, problems: list[Problem], deadline: float) -> None:
    _parking(settings, problems)
    input_topic = ""
    if settings.input_files:
        _recorded(settings, problems)
    else:
        input_topic = _subscription(settings, problems, deadline)
    _dead_letters(settings, input_topic, problems, deadline)
    _tables(settings, problems, deadline)


def _parking(settings: Settings, problems: list[Problem]) -> None:
    """A place on this machine must take a file; others are not tried before they are needed."""
    if not settings.park or "://" in settings.park:
        return
    try:
        Path(write_parked(settings.park, b"")).unlink()
    except OSError as error:
        problems.append(Problem(f"--park {settings.park}", f"cannot be written: {error}"))


def _recorded(settings: Settings, problems: list[Problem]) -> None:
    """Beam reads a pattern that matches nothing as an empty file, and all would seem well."""
    where = f"--input_files {settings.input_files}"
    try:
        [match] = FileSystems.match([settings.input_files])
    except (BeamIOError, ValueError, GoogleAuthError) as error:  # ValueError: not of Beam's places
        problems.append(Problem(where, f"cannot be looked up: {error}"))
        return
    if not match.metadata_list:
        problems.append(Problem(where, "matches no file", "give a path or a glob"))


def _subscription(settings: Settings, problems: list[Problem], deadline: float) -> str:
    name = settings.input_subscription
    subscriber = live.subscriber_client()
    found = _ask(
        f"--input_subscription {name}",
        lambda: subscriber.get_subscription(subscription=name, timeout=_CALL_DEADLINE, retry=None),
        problems,
        deadline,
        "create it on the issues topic before the publisher starts: a topic without a "
        "subscription discards what comes",
    )
    return str(found.topic) if found else ""


def _dead_letters(
    settings: Settings, input_topic: str, problems: list[Problem], deadline: float
) -> None:
    topic = settings.dead_letter_topic
    where = f"--dead_letter_topic {topic}"
    if topic == input_topic:
        problems.append(
            Problem(where, "is the topic that the job reads", "give the dead letters their own")
        )
    publisher = live.publisher_client()

    def subscriptions_of() -> list[str]:
        names = publisher.list_topic_subscriptions(topic=topic, timeout=_CALL_DEADLINE, retry=None)
        found = list(names)
        if not found:
            # The emulator lists none of a topic that is not there, where the service says so.
            publisher.get_topic(topic=topic, timeout=_CALL_DEADLINE, retry=None)
        return found

    remedy = "create it, with a subscription"
    if _ask(where, subscriptions_of, problems, deadline, remedy) == []:
        problems.append(
            Problem(where, "has no subscription: it would discard every letter", "create one")
        )


def _tables(settings: Settings, problems: list[Problem], deadline: float) -> None:
    client = live.bigquery_client(settings.output_dataset.partition(".")[0])
    for table in settings.tables:
        full = f"{settings.output_dataset}.{table.name}"
        command = apply_command(table, settings.output_dataset)
        found = _ask(
            f"table {full}",
            lambda full=full: client.get_table(full, timeout=_CALL_DEADLINE, retry=None),  # type: ignore[misc]
            problems,
            deadline,
            f"create it: {command}",
        )
        if found is None:
            continue
        missing, wrong = missing_columns(table, found.schema, full)
        problems += wrong
        if missing:
            names = ", ".join(column.name for column in missing)
            problems.append(
                Problem(f"table {full}", f"lacks columns: {names}", f"add them: {command}")
            )


def _ask(
    where: str, question: Callable[[], Any], problems: list[Problem], deadline: float, remedy: str
) -> Any:
    """The answer; None when there is none, with a problem or a line in the log that says why."""
    while True:
        try:
            return question()
        except NotFound:
            problems.append(Problem(where, "is not there", remedy))
            return None
        except (Forbidden, Unauthorized) as error:
            if is_transient(error):
                _log.warning("not checked, its quota is spent: %s: %s", where, error)
                return None
            problems.append(
                Problem(
                    where, f"may not be read: {error.message}", "grant the job's account access"
                )
            )
            return None
        except Exception as error:
            if not is_transient(error):
                if isinstance(error, GoogleAPICallError):
                    problems.append(Problem(where, f"cannot be asked about: {error}"))
                    return None
                raise
            if time.monotonic() > deadline:
                _log.warning("not checked, since it does not answer: %s: %s", where, error)
                return None
            time.sleep(_PAUSE)
