"""Before a launch on a service: who asks, what runs already, whether the bucket is there.

Asked before anything is built or sent, with a deadline, since Beam would find out by itself only
after minutes of retries, or wait for a browser's login.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import google.auth
from apache_beam.internal.gcp.auth import get_service_credentials
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession, Request
from google.protobuf.message import DecodeError

from pipeline.deadline import OutOfTime, lasting, within
from pipeline.engines import ENGINES
from pipeline.jobs import (
    DRAINING,
    PLACE,
    RUNNING,
    Job,
    Jobs,
    bucket,
    bucket_of,
    credentials_problem,
    stored,
)
from pipeline.options import Settings
from pipeline.parking import deleting_problems
from pipeline.questions import Findings
from pipeline.step_names import UPDATE, step_names
from schemas.problem import Problem, ProblemsFound

_PATIENCE = 14.0
# Where nothing is to be started: the whole command ends within 10 s.
_PATIENCE_OF_CHECK = 6.0
"""Seconds for all questions together."""

_CREDENTIALS_SECONDS = 7.0
_CALL_SECONDS = 4.0

_PARK = "--park"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Door:
    """The service's answers, and the means to ask on.

    Args:
        session: With the launcher's credentials.
        jobs: Of the project and region.
        running: The job of this name that has not ended.
    """

    session: AuthorizedSession
    jobs: Jobs
    running: Job | None


def check_door(settings: Settings) -> Findings:
    """The same as `knock`, for a check that shows what it finds."""
    try:
        door = knock(settings)
    except ProblemsFound as error:
        return Findings(problems=error.problems)
    options = _options(settings)
    where = f"--job_name {settings.job_name}"
    running = f"runs: {door.running}" if door.running else "none of this name runs"
    places = [f"--{option} {getattr(options, option)}" for option in _places(options)]
    park = f"{_PARK} {ENGINES[settings.runner].park(settings)}"
    return Findings(
        (
            f"{where}: {running}",
            *(f"{place}: the bucket is there" for place in places),
            f"{park}: the bucket is there, and no lifecycle rule of it deletes there",
        )
    )


def knock(settings: Settings) -> Door:
    """Asks what a launch needs to know, within 14 seconds, 6 where nothing is to be started.

    Raises:
        ProblemsFound: With every reason why the launch would not go well.
    """
    patience = _PATIENCE_OF_CHECK if settings.check else _PATIENCE
    try:
        return within(lasting(patience), partial(_knock, settings))
    except OutOfTime as error:
        what = f"its answers took more than {patience:.0f} s, and nothing was started"
        remedy = "look at this machine's network, then launch again"
        raise ProblemsFound([Problem("the service", what, remedy)]) from error


def _knock(settings: Settings) -> Door:
    options = _options(settings)
    problems = _place_problems(options)
    door = _open(settings, options)
    problems += _job_problems(settings, door.running, options)
    places = {f"--{option}": getattr(options, option) for option in _places(options)}
    park = ENGINES[settings.runner].park(settings)
    problems += _bucket_problems(door.session, places | {_PARK: park})
    if problems:
        raise ProblemsFound(problems)
    return door


def drain(settings: Settings) -> str:
    """Asks the service to drain the job of the settings' name; returns what it says, for the user.

    Raises:
        ProblemsFound: There is no such job, or it cannot be asked.
    """
    door = _open(settings, _options(settings))
    job = door.running
    if job is None:
        raise ProblemsFound([_none_of(settings, "--drain")])
    if job.state == DRAINING:
        return f"drains already: {job}"
    door.jobs.drain(job.id)
    return f"told to drain: {job.id} reads no more, and ends when what it has read is written"


def running_names(door: Door) -> frozenset[str] | None:
    """The step names of the job that runs, from the graph that its launch left in the bucket.

    The service itself tells the names of the user's steps in a form that it does not promise.

    Returns:
        None where they cannot be known: the graph has been deleted, or is in a place that the
        launcher may not read. The service then finds by itself what would be lost.
    """
    if door.running is None:
        return None
    environment = door.jobs.whole(door.running.id).get("environment", {})
    sdk: dict[str, Any] = environment.get("sdkPipelineOptions", {}).get("options", {})
    place = str(sdk.get("pipelineUrl", ""))
    content = stored(door.session, place) if PLACE.fullmatch(place) else None
    if content:
        try:
            return step_names(beam_runner_api_pb2.Pipeline.FromString(content))
        except DecodeError:
            pass
    _log.warning(
        "not checked: the graph of %s is not to be had%s, so its steps are not compared with the "
        "new ones; the service does, and keeps the running job where they do not fit",
        door.running.id,
        f" at {place}" if place else "",
    )
    return None


def _open(settings: Settings, options: GoogleCloudOptions) -> Door:
    session = session_of(options)
    jobs = Jobs(session, options.dataflow_endpoint, settings.project, options.region)
    if options.template_location and not options.update:
        # Whatever launches the template is itself the job of this name.
        return Door(session, jobs, None)
    # So is it at an update, then beside the one that runs, and waits to be made the new job.
    state = RUNNING if options.template_location else ""
    return Door(session, jobs, jobs.active(settings.job_name, state))


def session_of(options: GoogleCloudOptions) -> AuthorizedSession:
    """A session with the launcher's credentials, after one token has been fetched with them.

    Raises:
        ProblemsFound: There are none, or they are refused.
    """
    if options.no_auth:
        return AuthorizedSession(AnonymousCredentials())
    try:
        return within(lasting(_CREDENTIALS_SECONDS), partial(_authorized, options))
    except GoogleAuthError as error:
        raise ProblemsFound([credentials_problem(error)]) from error
    except OutOfTime as error:
        what = f"there is no access token within {_CREDENTIALS_SECONDS:.0f} s"
        raise ProblemsFound([credentials_problem(GoogleAuthError(what))]) from error


def _authorized(options: GoogleCloudOptions) -> AuthorizedSession:
    # Asked first, since Beam takes credentials that are not to be had for no reason to stop.
    google.auth.default(scopes=options.gcp_oauth_scopes)
    found = get_service_credentials(options)
    if found is None:
        raise GoogleAuthError("there are none that can be used")
    credentials = found.get_google_auth_credentials()
    credentials.refresh(partial(Request(), timeout=_CALL_SECONDS))
    return AuthorizedSession(credentials)


def _options(settings: Settings) -> GoogleCloudOptions:
    return PipelineOptions(list(settings.beam_args)).view_as(GoogleCloudOptions)


def _places(options: GoogleCloudOptions) -> list[str]:
    """The options that name places of their own."""
    given = ["temp_location"] if options.temp_location else []
    if options.staging_location not in (None, options.temp_location):
        given.append("staging_location")
    return given


def _bucket_problems(session: AuthorizedSession, places: Mapping[str, str]) -> list[Problem]:
    """What is wrong with the places' buckets, each asked once; and what deletes parked letters.

    Args:
        session: With the launcher's credentials.
        places: By option; one of another form is a problem already.
    """
    problems: list[Problem] = []
    asked: dict[str, dict[str, Any]] = {}
    for option, place in places.items():
        if not PLACE.fullmatch(place):
            continue
        name = bucket_of(place)
        if name not in asked:
            asked[name] = {}
            try:
                asked[name] = bucket(session, option, place)
            except ProblemsFound as error:
                problems += error.problems
        if option == _PARK:
            problems += deleting_problems(asked[name], option, place)
    return problems


def _place_problems(options: GoogleCloudOptions) -> list[Problem]:
    return [
        Problem(
            f"--{option} {getattr(options, option)}",
            "is not of the form gs://BUCKET/FOLDER",
            f"give --{option} gs://BUCKET/tmp",
        )
        for option in _places(options)
        if not PLACE.fullmatch(getattr(options, option))
    ]


def _job_problems(
    settings: Settings, running: Job | None, options: GoogleCloudOptions
) -> list[Problem]:
    where = f"--job_name {settings.job_name}"
    if not options.update:
        if running is None:
            return []
        remedy = (
            f"it goes on; {UPDATE} replaces it, --drain ends it; a second one, by another "
            "--job_name, needs a subscription of its own, or rows come twice"
        )
        return [Problem(where, f"runs already, so nothing was started: {running}", remedy)]
    if running is None:
        return [_none_of(settings, UPDATE)]
    if running.state != RUNNING:
        remedy = "wait until it runs, or has ended; then launch again"
        return [Problem(where, f"only a job that runs can be updated: {running}", remedy)]
    return []


def _none_of(settings: Settings, option: str) -> Problem:
    return Problem(
        option,
        f"no job of the name {settings.job_name} runs in this project and region",
        "give its --job_name, --project and --region; the list: gcloud dataflow jobs list "
        "--status active",
    )
