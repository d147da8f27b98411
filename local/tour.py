"""What `python -m local run` does on a stack that is up: feed, account, show, and follow."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from google.api_core.exceptions import GoogleAPIError
from requests.exceptions import RequestException

from local.account import Account, Arrived, Ledger, difference, unmet
from local.compare import differing
from local.pull import drain
from local.resources import (
    ACCOUNT_SUBSCRIPTION,
    DATASET,
    LETTERS_SUBSCRIPTION,
    delete_subscription,
)
from local.sample import Expected, feed
from local.show import LATEST, NEWEST, console, letters_table, newest, rows_table
from local.stack import Stack
from schemas import live
from schemas.failure import ERROR, REASON, STAGE
from schemas.message import Message
from schemas.table_file import shipped

_SETTLE_SECONDS = 120.0
_EVERY = 1.0

_CURL = "curl -X POST {publisher}/ -H 'Content-Type: application/json' -d '{body}'"
_BODY = '{"issue":"Test","priority":"P1"}'


def tour(stack: Stack, say: Callable[[str], None], *, sample: bool) -> bool:
    """Feeds the sample, waits until every event is accounted for, and shows what arrived.

    Args:
        stack: That is up.
        say: Told what is going on.
        sample: Whether to feed anything.

    Returns:
        Whether every event that was sent arrived, once, where it was expected.
    """
    project = stack.addresses.project
    subscriber = live.subscriber_client()
    client = live.bigquery_client(project)
    good = True
    if sample:
        ledger = Ledger(
            subscriber=subscriber,
            client=client,
            dataset=DATASET,
            tables=shipped(),
            published=ACCOUNT_SUBSCRIPTION,
            letters=LETTERS_SUBSCRIPTION,
        )
        expected = feed(project, stack.addresses.publisher_address)
        say(f"sent a sample of {len(expected)} events; waiting until each is accounted for")
        began = time.monotonic()

        def complete(account: Account) -> bool:
            stack.check()
            return not unmet(expected, account)

        account = ledger.settle(_SETTLE_SECONDS, complete)
        say(f"settled after {time.monotonic() - began:.1f} s")
        out = console()
        out.print(rows_table(newest(client)))
        out.print(letters_table(account.letters))
        good = judge(expected, account, ledger.payloads(), say)
    # From here on nobody reads it, and the emulator would keep all that is published in memory.
    delete_subscription(subscriber, project, ACCOUNT_SUBSCRIPTION)
    return good


def follow(stack: Stack, say: Callable[[str], None]) -> None:
    """Shows rows and dead letters as they arrive, until the stack is interrupted.

    Raises:
        NotReadyError: An emulator has ended by itself.
    """
    project = stack.addresses.project
    subscriber = live.subscriber_client()
    client = live.bigquery_client(project)
    out = console()
    seen: set[str] | None = None
    say("staying up; Ctrl-C stops all. To try:")
    say("  " + _CURL.format(publisher=stack.addresses.publisher, body=_BODY))
    while True:
        stack.check()
        try:
            rows = newest(client, LATEST)
            letters = list(drain(subscriber, project, LETTERS_SUBSCRIPTION))
        except (GoogleAPIError, RequestException) as error:
            # A busy machine; if an emulator is gone, the next check says so.
            say(f"can't look for what is new: {error}")
            time.sleep(_EVERY)
            continue
        if seen is not None and (new := [row for row in rows if row["event_id"] not in seen]):
            more = f" (the newest {len(new)})" if len(new) == NEWEST else ""
            out.print(rows_table(new, f"new rows{more}"))
        if letters:
            out.print(letters_table(letters, "new dead letters"))
        # Older rows than these never come back among the latest.
        seen = {row["event_id"] for row in rows}
        time.sleep(_EVERY)


def judge(
    expected: Sequence[Expected],
    account: Account,
    rows: Iterable[tuple[Arrived, Any, Any]],
    say: Callable[[str], None],
) -> bool:
    """Says what became of the sample.

    Args:
        expected: What must have arrived, each an event of its own.
        account: What did.
        rows: Every row with its payload and old payload.
        say: Told of everything that is not as it should be, then the sum.

    Returns:
        Whether all of it is as it should be.
    """
    found = difference(expected, account)
    for each in found.unmet:
        say(f"  not arrived as expected: {each}")
    if len(account.published) < len(expected):
        say(
            f"  only {len(account.published)} of {len(expected)} events reached the topic: "
            "see the logs of publisher and Firestore emulator"
        )
    elif found.unmet:
        for row in found.rows:
            say(f"  arrived, and nothing expected it: {row}")
        for letter in found.letters:
            say(f"  a dead letter that nothing expected: {_described(letter)}")
    compared = [each for each in expected if each.compared]
    wrong = differing(compared, rows)
    for each in wrong:
        say(f"  does not read back as it was written: {each}")
    say(
        f"{len(compared) - len(wrong)} of {len(compared)} rows compared with what was written "
        f"(documents, also as they were before; issues) are equal; {account}"
    )
    return account.balanced() and not found.unmet and not wrong


def _described(letter: Message) -> str:
    return " ".join((letter.event_id, *(letter.attribute(name) for name in (STAGE, ERROR, REASON))))
