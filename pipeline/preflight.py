"""Before a start: what would lose or double data is refused, every reason at once.

Pub/Sub and BigQuery are asked side by side, within one deadline. What cannot be found out is no
problem, and is said: the job itself waits for a service that is away. docs/preflight.md lists what
is refused; flags are judged in `pipeline.beam_flags` and `pipeline.objections`.
"""

import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import google.auth
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request

from pipeline import refusals
from pipeline.dead_letters import write_parked
from pipeline.engines import ENGINES, NATIVE
from pipeline.options import Settings
from pipeline.outages import is_transient
from pipeline.preflight_pubsub import check_dead_letters, check_input
from pipeline.preflight_tables import check_table
from pipeline.questions import Findings, Inquiry, found_by, together
from schemas import live
from schemas.problem import Problem

_PATIENCE = 6.0
"""Seconds for everything; with Beam's imports before it, a check is over within 10."""

_CREDENTIALS_SECONDS = 3.0
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


def examine(settings: Settings, *, patience: float = _PATIENCE) -> Findings:
    """What a start would meet: what is well, what could not be asked, what is wrong.

    Args:
        settings: Of the job; of one on an unknown runner nothing is known.
        patience: Seconds to wait for services that do not answer.
    """
    deadline = time.monotonic() + patience
    engine = ENGINES.get(settings.runner)
    if engine is None:
        return Findings()
    parts = [_parking(engine.park(settings)), _credentials(deadline)]
    if refusals.CREDENTIALS.name in _names(parts[-1]):
        # Nobody else at Google would answer otherwise, each after as long as it is waited for.
        return together(parts)
    topics: list[str] = []
    here = engine.in_process
    inquiries = []
    if settings.input_files:
        where = f"--input_files {settings.input_files}"
        inquiries.append(Inquiry(where, partial(_check_files, pattern=settings.input_files)))
    else:
        name = settings.input_subscription
        inquiries.append(
            Inquiry(
                f"--input_subscription {name}",
                lambda inquiry: topics.append(check_input(inquiry, name, rights=here)),
            )
        )
    read = "" if settings.input_files else settings.input_subscription
    letters = settings.dead_letter_topic
    inquiries.append(
        Inquiry(
            f"--dead_letter_topic {letters}",
            lambda inquiry: check_dead_letters(inquiry, letters, read, rights=here),
        )
    )
    reads = engine.sink(settings) == NATIVE
    inquiries += [
        Inquiry(
            f"table {settings.output_dataset}.{table.name}",
            partial(
                check_table, table=table, dataset=settings.output_dataset, rights=here, reads=reads
            ),
        )
        for table in settings.tables
    ]
    parts.append(found_by(inquiries, deadline))
    if letters in topics:
        where = f"--dead_letter_topic {letters}"
        parts.append(Findings(problems=(refusals.DEAD_LETTERS_ARE_INPUT.at(where),)))
    if not here:
        parts.append(_elsewhere())
    return together(parts)


def report(found: Findings) -> list[str]:
    """The lines that `--check` shows: what is well, what could not be asked, what is wrong."""
    lines = []
    for head, group in (
        ("checked", found.checked),
        ("could not be checked", found.unchecked),
        ("problems", found.problems),
    ):
        lines.append(f"{head}: {len(group) or 'none'}")
        lines += [f"  {each}" for each in group]
    return lines


def _names(found: Findings) -> set[str]:
    return {problem.where for problem in found.problems}


def _credentials(deadline: float) -> Findings:
    """Whether Google's credentials are any, and are taken, where something asks Google.

    Asked by itself: a gRPC client says of credentials that are refused that the service is away.
    """
    emulators = (live.PUBSUB_EMULATOR_HOST, live.BIGQUERY_EMULATOR_HOST)
    if all(os.environ.get(name) for name in emulators):
        return Findings()
    until = min(deadline, time.monotonic() + _CREDENTIALS_SECONDS)
    return found_by([Inquiry(refusals.CREDENTIALS.name, _check_credentials)], until)


def _check_credentials(inquiry: Inquiry) -> None:
    credentials, _ = google.auth.default(scopes=_SCOPES)
    try:
        credentials.refresh(partial(Request(), timeout=_CREDENTIALS_SECONDS))
    except GoogleAuthError as error:
        if not is_transient(error):
            raise
        inquiry.note("credentials", f"no token could be fetched: {error}")
    else:
        inquiry.checked("credentials: Google gives a token for them")


def _elsewhere() -> Findings:
    """What this machine cannot know of a job whose workers are elsewhere."""
    notes = [
        Problem(
            "permissions",
            "only the account of the workers could ask for its own",
            "it needs roles/dataflow.worker, and pubsub.subscriber and pubsub.viewer, "
            "pubsub.publisher and bigquery.dataEditor on what the job uses",
        )
    ]
    notes += [
        Problem(
            name,
            "is set: an emulator was asked, and the workers use Google Cloud",
            "check again without it",
        )
        for name in (live.PUBSUB_EMULATOR_HOST, live.BIGQUERY_EMULATOR_HOST)
        if os.environ.get(name)
    ]
    return Findings(unchecked=tuple(notes))


def _parking(place: str) -> Findings:
    """A place on this machine must take a file; others are not tried before they are needed."""
    where = f"--park {place}"
    if "://" in place:
        return Findings(unchecked=(Problem(where, "is not written to before it is needed"),))
    try:
        _try(Path(place))
    except OSError as error:
        return Findings(problems=(refusals.PARK.at(where, error=error),))
    return Findings(checked=(f"{where}: can be written",))


def _try(folder: Path) -> None:
    """Writes a file there, and leaves everything as it was."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    Path(write_parked(str(folder), b"")).unlink()
    for each in made:
        with suppress(OSError):  # not empty: another start is at it too
            each.rmdir()


def _check_files(inquiry: Inquiry, pattern: str) -> None:
    """Beam reads a pattern that matches nothing as an empty file, and all would seem well."""
    try:
        [match] = FileSystems.match([pattern])
    except (BeamIOError, ValueError, GoogleAuthError) as error:  # ValueError: not of Beam's places
        inquiry.refuse(Problem(inquiry.where, f"cannot be looked up: {error}"))
        return
    if match.metadata_list:
        inquiry.checked(f"{inquiry.where}: {len(match.metadata_list)} files")
    else:
        inquiry.refuse(refusals.INPUT_FILES.at(inquiry.where))
