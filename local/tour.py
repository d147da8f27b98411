"""What `python -m local run` does on a stack that is up: feed, account, show, and follow."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.api_core.exceptions import GoogleAPIError
from requests.exceptions import RequestException

from local.account import Account, Ledger, difference, unmet
from local.compare import comparable, differing, faults
from local.expected import Expected
from local.pull import drain
from local.resources import (
    ACCOUNT_SUBSCRIPTION,
    DATASET,
    LETTERS_SUBSCRIPTION,
    delete_subscription,
)
from local.rows import Found, run
from local.sample import feed
from local.show import NEWEST, console, latest_of, letters_table, query_of, rows_table
from local.stack import Stack
from schemas import live
from schemas.failure import ERROR, REASON, STAGE
from schemas.message import Message

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
            tables=stack.tables,
            published=ACCOUNT_SUBSCRIPTION,
            letters=LETTERS_SUBSCRIPTION,
        )
        expected = feed(project, stack.addresses.publisher_address, stack.tables)
        say(f"sent a sample of {len(expected)} events; waiting until each is accounted for")
        began = time.monotonic()

        def complete(account: Account) -> bool:
            stack.check()
            return not unmet(expected, account)

        account = ledger.settle(_SETTLE_SECONDS, complete)
        say(f"settled after {time.monotonic() - began:.1f} s")
        out = console()
        for table in stack.tables:
            query = query_of(table)
            rows, total = run(client, query, NEWEST)
            if rows:
                out.print(rows_table(table, rows, f"{query} ({_counted(len(rows), total)})"))
        out.print(letters_table(account.letters))
        good = judge(expected, account, ledger.whole(), say)
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
    seen: dict[str, set[str]] = {}
    say("staying up; Ctrl-C stops all. To try:")
    say("  " + _CURL.format(publisher=stack.addresses.publisher, body=_BODY))
    while True:
        stack.check()
        try:
            for table in stack.tables:
                rows, _ = run(client, latest_of(table))
                known = seen.get(table.name)
                # Older rows than these never come back among the latest.
                seen[table.name] = {_key(row) for row in rows}
                if known is None:
                    continue
                if new := [row for row in rows if _key(row) not in known]:
                    more = f" (the newest {len(new)})" if len(new) == NEWEST else ""
                    out.print(rows_table(table, new, f"new rows in {table.name}{more}"))
            if letters := list(drain(subscriber, project, LETTERS_SUBSCRIPTION)):
                out.print(letters_table(letters, "new dead letters"))
        except (GoogleAPIError, RequestException) as error:
            # A busy machine; if an emulator is gone, the next check says so.
            say(f"can't look for what is new: {error}")
        time.sleep(_EVERY)


def judge(
    expected: Sequence[Expected],
    account: Account,
    rows: Sequence[Found],
    say: Callable[[str], None],
) -> bool:
    """Says what became of the sample.

    Args:
        expected: What must have arrived, each an event of its own.
        account: What did.
        rows: Every row, whole.
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
    compared = comparable(expected, rows)
    wrong = differing(compared, rows)
    for each in wrong:
        say(f"  does not read back as it was written: {each}")
    amiss = faults(expected, rows)
    for fault in amiss:
        say(f"  {fault}")
    say(
        f"{len(compared) - len(wrong)} of {len(compared)} rows compared with what was written "
        "(documents, also as they were before, without what tables drop; issues) are equal; "
        f"{account}"
    )
    return account.balanced() and not (found.unmet or wrong or amiss)


def _key(row: Mapping[str, Any]) -> str:
    """Tells a row from others; one without an event_id is known by all that it holds."""
    return str(row.get("event_id") or row)


def _counted(shown: int, total: int) -> str:
    if shown < total:
        return f"the first {shown} of {total} rows"
    return f"{total} row{'' if total == 1 else 's'}"


def _described(letter: Message) -> str:
    return " ".join((letter.event_id, *(letter.attribute(name) for name in (STAGE, ERROR, REASON))))
