"""From a graph to a job's id: what is staged and posted, under deadlines, and never half told.

Beam makes the request and stages the files. Its own retries are bounded here: a 503 to the post
would be repeated for two and a half minutes, a file for longer.
"""

import io
import json
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apache_beam as beam
import httplib2
import requests
from apache_beam.options.pipeline_options import GoogleCloudOptions, TestOptions
from apache_beam.runners.dataflow.internal import apiclient
from apitools.base.py.exceptions import Error as ApiToolsError
from apitools.base.py.exceptions import HttpError
from google.auth.exceptions import GoogleAuthError

from pipeline.deadline import OutOfTime, within
from pipeline.door import Door, running_names
from pipeline.jobs import credentials_problem, said, short
from pipeline.step_names import step_names, update_problems
from pipeline.watch import STALL_SECONDS, Abandoned, Watch, WatchedUploads
from schemas.problem import Problem, ProblemsFound

_FILE_PAUSES = (1.0, 3.0)

_POST_SECONDS = 12.0
_PAUSES = (1.0, 2.0, 4.0)
_BUSY = frozenset((429, 500, 502, 503, 504))

_log = logging.getLogger(__name__)


class Unsent(Exception):
    """A file that could not be staged; the text says why."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.remedy = remedy


class _Client(apiclient.DataflowApplicationClient):
    """Beam's own client, watched."""

    def __init__(self, job: Any, watch: Watch) -> None:
        super().__init__(job.options, job.root_staging_location)
        self._watch = watch
        session = self._storage_client._http  # noqa: SLF001 - the one way to its connections
        session.mount("https://", WatchedUploads(watch))

    def stage_file_with_retry(
        self, folder: str, name: str, source: str | io.BytesIO, *args: Any, **kwargs: Any
    ) -> None:
        """Sends one file, three times at most: seven times in ten minutes is Beam's way."""
        with Path(source).open("rb") if isinstance(source, str) else source as stream:
            for pause in (*_FILE_PAUSES, None):
                self._watch.begins(f"{folder}/{name}")
                stream.seek(0)
                try:
                    self.stage_file(folder, name, stream, *args, **kwargs)
                except (GoogleAuthError, Abandoned):
                    raise
                except Exception as error:
                    if pause is None or not _passes(error):
                        raise _unsent(error) from error
                else:
                    return
                time.sleep(pause)

    def submit_job_description(self, job: Any) -> Any:
        """Posts the job. The service takes a request of one `clientRequestId` once."""
        self._client.num_retries = 1
        for pause in (*_PAUSES, None):
            self._watch.begins("the job", _POST_SECONDS, posted=True)
            try:
                return self._post(job)
            except HttpError as error:
                if error.status_code not in _BUSY or pause is None:
                    raise
            except (OSError, httplib2.HttpLib2Error):
                if pause is None:
                    raise
            time.sleep(pause)
        raise AssertionError  # the last attempt returns or raises

    def _post(self, job: Any) -> Any:
        cloud = self.google_cloud_options
        request = apiclient.dataflow.DataflowProjectsLocationsJobsCreateRequest(
            projectId=cloud.project, location=cloud.region, job=job.proto
        )
        return self._client.projects_locations_jobs.Create(request)


def _passes(error: Exception) -> bool:
    """Whether a file may get through the next time.

    Beam makes an OSError of a bucket that may not be used, and of nothing else. An upload that
    broke off shows as whatever its client stumbled over next.
    """
    answer = getattr(error, "response", None)
    if isinstance(answer, requests.Response):
        return answer.status_code in _BUSY
    return type(error) is not OSError


def _unsent(error: Exception) -> Unsent:
    answer = getattr(error, "response", None)
    if isinstance(answer, requests.Response):
        why = f"Cloud Storage answers {answer.status_code}: {said(answer)}"
        if answer.status_code in (401, 403):
            return Unsent(why, "grant this account roles/storage.objectAdmin on the bucket")
        return Unsent(why, "try again in a while")
    return Unsent(short(error), "look at this machine's network and the bucket, then launch again")


def submit(pipeline: beam.Pipeline, door: Door) -> str:
    """Stages what the graph needs and starts its job.

    Args:
        pipeline: Whose runner only makes the request (`--dry_run`).
        door: The answers to the questions before.

    Returns:
        What there is now, for the user.

    Raises:
        ProblemsFound: Nothing was started, or it is said what may have been.
    """
    # Beam deletes this folder when it has run; the Java sink's files are in it, and are sent later.
    pipeline.local_tempdir = tempfile.mkdtemp()
    try:
        job = pipeline.run().job
    except (NotImplementedError, RecursionError):
        raise  # RuntimeErrors too, but of a program, not of what it is given
    except (RuntimeError, OSError) as error:
        # Beam's words for a package that cannot be built, and for files that are not there.
        raise ProblemsFound([_not_ready(error)]) from error
    cloud = job.options.view_as(GoogleCloudOptions)
    job.options.view_as(TestOptions).dry_run = False  # else the workers are told so too
    if cloud.update and door.running is not None:
        names = running_names(door), step_names(job.proto_pipeline)
        if problems := update_problems(*names, cloud.transform_name_mapping or {}):
            raise ProblemsFound(problems)
    return _sent(job, door)


def _not_ready(error: Exception) -> Problem:
    what = f"could not be made ready, and nothing was started: {short(error)}"
    remedy = "look at --setup_file, --extra_package and what they name, and at the space of TMPDIR"
    return Problem("what the workers install", what, remedy)


def _sent(job: Any, door: Door) -> str:
    cloud = job.options.view_as(GoogleCloudOptions)
    watch = Watch()
    try:
        created = within(watch.left, lambda: _Client(job, watch).create_job(job))
    except OutOfTime as error:
        raise ProblemsFound([_late(watch.abandon(), watch.what, job, door)]) from error
    except HttpError as error:
        raise ProblemsFound([_refused(error, job, door)]) from error
    except GoogleAuthError as error:
        raise ProblemsFound([credentials_problem(error)]) from error
    except Unsent as error:
        what = f"not staged, and nothing was started: {error}"
        raise ProblemsFound([Problem(watch.what, what, error.remedy)]) from error
    except (OSError, ApiToolsError, httplib2.HttpLib2Error) as error:
        if watch.posted:
            raise ProblemsFound([_unknown(short(error), job, door)]) from error
        what = f"not staged, and nothing was started: {short(error)}"
        remedy = "look at this machine's network and the bucket, then launch again"
        raise ProblemsFound([Problem(watch.what or "staging", what, remedy)]) from error
    if created is None:
        return f"template written: {cloud.template_location}"
    if created.clientRequestId not in (None, job.proto.clientRequestId):
        what = f"another launch was faster: {created.id} runs under this name"
        raise ProblemsFound([Problem(f"--job_name {cloud.job_name}", what, "it goes on")])
    return f"submitted job {created.id} in {cloud.region}"


@contextmanager
def tidy() -> Iterator[Path]:
    """A folder for all that a launch leaves in the temporary folder, Beam's builds among it."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="launch-") as folder:
        tempfile.tempdir = folder
        try:
            yield Path(tempfile.mkdtemp(prefix="package-"))
        finally:
            tempfile.tempdir = before


def _late(posted: bool, what: str, job: Any, door: Door) -> Problem:
    if posted:
        return _unknown("the service did not answer in time", job, door)
    return Problem(
        what or "staging",
        f"Cloud Storage took nothing of it for {STALL_SECONDS:.0f} s, and nothing was started",
        "look at this machine's network, then launch again",
    )


def _refused(error: HttpError, job: Any, door: Door) -> Problem:
    """A refusal of the post; that the service is busy says nothing about what it did."""
    words = _words(error)
    if error.status_code in _BUSY:
        return _unknown(f"the service answers {error.status_code}: {words}", job, door)
    cloud = job.options.view_as(GoogleCloudOptions)
    return Problem(
        f"job {cloud.job_name}",
        f"the service answers {error.status_code}, and nothing was started: {words}",
        "mend what it says, and launch again"
        if error.status_code not in (401, 403)
        else f"grant this account roles/dataflow.developer on {cloud.project}, and "
        "roles/iam.serviceAccountUser on the workers' account",
    )


def _unknown(why: str, job: Any, door: Door) -> Problem:
    """The post was sent, and what came of it is not known: asks, and says what it finds."""
    cloud = job.options.view_as(GoogleCloudOptions)
    where = f"job {cloud.job_name}"
    look = (
        f"look before you launch again: gcloud dataflow jobs list --region {cloud.region} "
        f"--status active --filter name={cloud.job_name}"
    )
    try:
        found = door.jobs.active(cloud.job_name)
    except ProblemsFound:
        return Problem(where, f"was posted, and whether it was started is not known: {why}", look)
    if found is None or (door.running is not None and found.id == door.running.id):
        return Problem(where, f"was posted, and is not there so far: {why}", look)
    return Problem(where, f"was posted, and {found} is there now, though: {why}", look)


def _words(error: HttpError) -> str:
    content = error.content
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
    try:
        return short(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return short(text)
