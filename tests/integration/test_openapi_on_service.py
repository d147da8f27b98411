"""The contract against the running service: schemathesis makes requests of the document itself.

Two of its checks are left out, since what a body is depends on the headers beside it, which OpenAPI
can't say: `positive_data_acceptance` (some `ce-` headers without the others are each valid and
together no event: 400) and `negative_data_rejection` (with `ce-` headers any body is taken).
All others hold: no status, content type, header or JSON that is not in the document, so no 5xx but
the 503; a method that is not in it is a 405 with `Allow`; no answer without a credential that needs
one.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest

from publisher.keys import new_key
from tests.integration.publisher_process import Published, publisher

pytestmark = pytest.mark.emulators

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
SECONDS = 120
ISSUE_ID = re.compile(r"\bINC-[0-9A-F]{8}\b")


class Answers:
    """What `POST /` answered.

    Args:
        har: The requests and answers of a run, in the HTTP archive format.
        url: Of the service.
    """

    def __init__(self, har, url):
        self.statuses = Counter()
        self.issue_ids = set()
        for entry in json.loads(har.read_text())["log"]["entries"]:
            request, response = entry["request"], entry["response"]
            if (request["method"], request["url"]) == ("POST", f"{url}/"):
                self.statuses[response["status"]] += 1
                if response["status"] == 200:
                    self.issue_ids |= set(ISSUE_ID.findall(response["content"]["text"]))


def check(url, folder, *more, binary=True):
    """Runs schemathesis. The seed is fixed and nothing is remembered from one run to the next.

    Args:
        url: Of the service.
        folder: For its files.
        more: Further flags.
        binary: Whether `ce-` headers are sent: with them there is hardly any other kind.
    """
    document = httpx.get(f"{url}/openapi.json", timeout=10, trust_env=False).json()
    if not binary:
        post = document["paths"]["/"]["post"]
        post["parameters"] = [p for p in post["parameters"] if not p["name"].startswith("ce-")]
    given, har = folder / "openapi.json", folder / "answers.har"
    given.write_text(json.dumps(document))
    command = [
        *(SCHEMATHESIS, "--config-file", _config(folder), "run", given, "--url", url),
        *("--exclude-checks", "positive_data_acceptance,negative_data_rejection"),
        *("--seed", "1", "--generation-database", "none"),
        *("--continue-on-failure", "--no-shrink", "--request-timeout", "10"),
        *("--report", "har", "--report-har-path", har, *more),
    ]
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert ran.returncode == 0, ran.stdout[-8_000:] + ran.stderr[-2_000:]
    return Answers(har, url)


def _config(folder):
    """An empty one: else one in a folder above would count."""
    config = folder / "schemathesis.toml"
    config.touch()
    return config


# What the document's every branch needs, and so many more that are drawn.
COVERED = ("--phases", "examples,coverage")
DRAWN = ("--phases", "examples,coverage,fuzzing", "--max-examples", "8")


def test_every_answer_is_as_documented(stack, tmp_path):
    """Open to all: events in every mode, issues, forms, valid and not; the topic has each issue."""
    published = Published(stack)
    with publisher(stack, published, tmp_path) as url:
        binary = check(url, tmp_path, *COVERED)
        others = check(url, tmp_path, *DRAWN, "--include-path", "/", binary=False)
        messages = published.messages(least=binary.statuses[200] + others.statuses[200])
    assert set(binary.statuses) >= {200, 204, 400, 413}
    assert set(others.statuses) >= {200, 204, 400, 415}
    assert binary.issue_ids | others.issue_ids == issue_ids(messages)


def test_every_answer_to_a_key_is_as_documented(stack, tmp_path):
    """Closed, with a right key: issues are taken, events are not; without the key nothing is."""
    key, entry = new_key("contract")
    published = Published(stack)
    settings = {"AUTH": "on", "API_KEYS": entry.entry()}
    flags = ("--header", f"X-API-Key: {key}", "--generation-with-security-parameters", "false")
    with publisher(stack, published, tmp_path, **settings) as url:
        answers = check(url, tmp_path, *COVERED, "--include-path", "/", *flags, binary=False)
        messages = published.messages(least=answers.statuses[200])
    assert set(answers.statuses) >= {200, 400, 401, 403}
    assert answers.statuses[204] == 0
    assert {message.attributes["ce-type"] for message in messages} == {"issues.manual.created"}
    assert answers.issue_ids == issue_ids(messages)


def issue_ids(messages):
    return {m.attributes["issue_id"] for m in messages if "issue_id" in m.attributes}
