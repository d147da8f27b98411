"""The service's jobs, and the bucket, asked over REST: each call with a deadline.

Beam's own clients retry a missing bucket for five minutes and a 503 for two and a half.
"""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from schemas.problem import Problem, ProblemsFound

RUNNING, DRAINING = "JOB_STATE_RUNNING", "JOB_STATE_DRAINING"

_CALL_SECONDS = 4.0
_PATIENCE = 6.0
_PAUSE = 0.5
_BUSY = frozenset((429, 500, 502, 503, 504))
"""Answers that say nothing about the question, only about the moment."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job that the service has not ended yet.

    Args:
        id: The service's own.
        name: The user's.
        state: `JOB_STATE_...`.
        since: When it came into that state, RFC 3339.
    """

    id: str
    name: str
    state: str
    since: str

    def __str__(self) -> str:
        return f"{self.id}, {self.state} since {self.since}"


class Jobs:
    """Jobs of one project in one region.

    Args:
        session: With the launcher's credentials.
        endpoint: `https://dataflow.googleapis.com`, or what stands in for it.
        project: Of the jobs.
        region: Of the jobs.
    """

    def __init__(
        self, session: AuthorizedSession, endpoint: str, project: str, region: str
    ) -> None:
        self._session = session
        self._endpoint = endpoint.rstrip("/")
        self._jobs = f"{self._endpoint}/v1b3/projects/{project}/locations/{region}/jobs"
        self._where = f"jobs of {project} in {region}"

    def active(self, name: str, state: str = "") -> Job | None:
        """The job of that name that has not ended; the service lets there be one a region.

        Args:
            name: The user's.
            state: The only one that counts; '' for any.

        Raises:
            ProblemsFound: It may not be asked, or does not answer.
        """
        token = ""
        while True:
            asked = {"filter": "ACTIVE", "name": name, "pageToken": token}
            page = self._call("GET", self._jobs, params={k: v for k, v in asked.items() if v})
            for each in page.get("jobs", ()):
                if each.get("name") == name and state in ("", each.get("currentState")):
                    return _job(each)
            token = page.get("nextPageToken", "")
            if not token:
                return None

    def whole(self, job_id: str) -> dict[str, Any]:
        """All that the service tells of a job.

        Raises:
            ProblemsFound: It may not be asked, or does not answer.
        """
        return self._call("GET", f"{self._jobs}/{job_id}", params={"view": "JOB_VIEW_ALL"})

    def drain(self, job_id: str) -> None:
        """Asks the job to read no more, and to end once what it has read is written.

        Raises:
            ProblemsFound: It may not be asked, or does not answer.
        """
        self._call("PUT", f"{self._jobs}/{job_id}", json={"requestedState": DRAINING})

    def _call(self, method: str, url: str, **arguments: Any) -> dict[str, Any]:
        answer = call(self._session, method, url, self._where, **arguments)
        if answer.status_code == requests.codes.ok:
            body: dict[str, Any] = answer.json()
            return body
        what = f"the service answers {answer.status_code}: {said(answer)}"
        remedy = "try again in a while" if answer.status_code in _BUSY else _MAY_ASK
        raise ProblemsFound([Problem(self._where, what, remedy)])


_MAY_ASK = (
    "give the project and the region of the job, enable dataflow.googleapis.com, and grant this "
    "account roles/dataflow.developer"
)


def call(
    session: AuthorizedSession, method: str, url: str, where: str, **arguments: Any
) -> requests.Response:
    """One answer; what only the moment is to blame for is asked again, for six seconds.

    Args:
        session: With credentials.
        method: Of HTTP.
        url: To ask.
        where: What problems call it.
        **arguments: As for `requests`.

    Raises:
        ProblemsFound: There is no answer.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            answer: requests.Response = session.request(
                method, url, timeout=_CALL_SECONDS, **arguments
            )
            if answer.status_code not in _BUSY or time.monotonic() > deadline:
                return answer
        except GoogleAuthError as error:
            raise ProblemsFound([credentials_problem(error)]) from error
        except (requests.ConnectionError, requests.Timeout) as error:
            if time.monotonic() > deadline:
                host = url.split("/")[2]
                what = f"{host} does not answer: {short(error)}"
                raise ProblemsFound([Problem(where, what, _NETWORK)]) from error
        time.sleep(_PAUSE)


_NETWORK = "look at this machine's network and https_proxy, then launch again; nothing was started"


def credentials_problem(error: Exception) -> Problem:
    """What the user is to do about credentials."""
    text = short(error.args[0] if error.args else error)
    return Problem(
        "credentials",
        text,
        "run gcloud auth application-default login, or name a service account's key in "
        "GOOGLE_APPLICATION_CREDENTIALS",
    )


# Beam takes another form for missing, and creates a bucket of its own choice.
PLACE = re.compile(r"gs://[a-z0-9][a-z0-9._-]+[a-z0-9]/[^\r\n]+")
"""A folder of a bucket, as options name it."""


def bucket_of(place: str) -> str:
    """The bucket of a `gs://BUCKET/FOLDER`."""
    return place.removeprefix("gs://").partition("/")[0]


def bucket(session: AuthorizedSession, option: str, place: str) -> dict[str, Any]:
    """The bucket as it is described (`buckets.get`); Beam asks the same at each file.

    Raises:
        ProblemsFound: It is not there, may not be asked about, or nobody answers.
    """
    where, name = f"{option} {place}", bucket_of(place)
    answer = call(session, "GET", _storage(f"storage/v1/b/{quote(name)}"), where)
    if answer.status_code == requests.codes.ok:
        found: dict[str, Any] = answer.json()
        return found
    if answer.status_code == requests.codes.not_found:
        remedy = f"create it: gcloud storage buckets create gs://{name} --location REGION"
        raise ProblemsFound([Problem(where, f"there is no bucket {name}", remedy)])
    what = f"bucket {name} cannot be used, Cloud Storage answers {answer.status_code}: "
    remedy = "grant this account roles/storage.legacyBucketReader and objectAdmin on the bucket"
    if answer.status_code in _BUSY:
        remedy = "try again in a while"
    raise ProblemsFound([Problem(where, what + said(answer), remedy)])


def stored(session: AuthorizedSession, place: str) -> bytes | None:
    """The content of a `gs://` object; None where there is none to be had.

    Raises:
        ProblemsFound: There is no answer.
    """
    bucket, _, name = place.removeprefix("gs://").partition("/")
    url = _storage(f"storage/v1/b/{quote(bucket)}/o/{quote(name, safe='')}")
    answer = call(session, "GET", url, place, params={"alt": "media"})
    return answer.content if answer.status_code == requests.codes.ok else None


def _storage(path: str) -> str:
    host = os.environ.get("STORAGE_EMULATOR_HOST") or "https://storage.googleapis.com"
    return f"{host.rstrip('/')}/{path}"


def _job(answer: Mapping[str, Any]) -> Job:
    since = answer.get("currentStateTime") or answer.get("createTime") or "a time it does not tell"
    return Job(answer["id"], answer["name"], answer.get("currentState", "JOB_STATE_UNKNOWN"), since)


def said(answer: requests.Response) -> str:
    """The service's own words in an answer that is an error."""
    try:
        return short(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return short(answer.text or answer.reason)


def short(why: object) -> str:
    """A text in one line, of 300 characters at most."""
    text = " ".join(str(why).split())
    return text if len(text) <= 300 else text[:300] + "..."
