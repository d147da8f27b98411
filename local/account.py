"""Accounts for every event: published = in the tables, or in the dead letters, by set of event_id.

Numbers would not do: a lost event and a doubled one would cancel out.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from google.cloud import bigquery
from google.pubsub_v1.services.subscriber import SubscriberClient

from local.expected import Expected
from local.pull import drain
from local.rows import Arrived, Found, arrived, whole, with_event_id
from schemas.failure import ATTEMPT, ERROR, STAGE
from schemas.message import Message
from schemas.table import Table

_EVERY = 0.25
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Account:
    """What was published and what became of it.

    Args:
        published: The event_id of every message of the topic.
        rows: Every row of the tables, repeats included, but for those that were there before.
        letters: Every dead letter as it was published, repeats included.
        tables: The names of the tables that were read, also of those without a row.
    """

    published: frozenset[str]
    rows: tuple[Arrived, ...]
    letters: tuple[Message, ...]
    tables: tuple[str, ...] = ()

    @property
    def in_tables(self) -> frozenset[str]:
        """The event_ids that have a row."""
        return frozenset(row.event_id for row in self.rows)

    @property
    def by_table(self) -> dict[str, frozenset[str]]:
        """The event_ids that have a row in each of the tables."""
        names = dict.fromkeys((*self.tables, *(row.table for row in self.rows)))
        return {
            name: frozenset(row.event_id for row in self.rows if row.table == name)
            for name in names
        }

    @property
    def in_letters(self) -> frozenset[str]:
        """The event_ids that have a dead letter."""
        return frozenset(letter.event_id for letter in self.letters)

    @property
    def missing(self) -> frozenset[str]:
        """Published, and neither in a table nor in the dead letters."""
        return self.published - self.in_tables - self.in_letters

    @property
    def doubled(self) -> frozenset[str]:
        """In a table more than once, in two tables, or in one and in the dead letters too."""
        count = Counter(row.event_id for row in self.rows)
        twice = frozenset(event_id for event_id, number in count.items() if number > 1)
        return twice | (self.in_tables & self.in_letters)

    @property
    def unknown(self) -> frozenset[str]:
        """Arrived, and never seen on the topic."""
        return (self.in_tables | self.in_letters) - self.published

    @property
    def repeated_letters(self) -> int:
        """Dead letters beyond the first of an event and attempt: allowed, at least once."""
        known = {(letter.event_id, letter.attribute(ATTEMPT)) for letter in self.letters}
        return len(self.letters) - len(known)

    def balanced(self) -> bool:
        """Whether every event is accounted for exactly once."""
        return not (self.missing or self.doubled or self.unknown)

    def __str__(self) -> str:
        places = [f"{len(found)} in {name}" for name, found in self.by_table.items()]
        letters = len(self.in_letters)
        places.append(f"{letters} dead letter{'' if letters == 1 else 's'}")
        text = f"{len(self.published)} events published = {' + '.join(places)}"
        for name in ("missing", "doubled", "unknown"):
            found = sorted(getattr(self, name))
            if found:
                more = ", ..." if len(found) > _SHOWN else ""
                text += f"; {len(found)} {name}: {', '.join(found[:_SHOWN])}{more}"
        return text


class Ledger:
    """Reads what was published, what is in the tables, and what is in the dead letters.

    Args:
        subscriber: Aimed at the Pub/Sub emulator.
        client: Aimed at BigQuery; its project is the subscriptions' too.
        dataset: Where the tables are.
        tables: Those of a layout that has an event_id are read.
        published: A subscription of the topic that nobody else takes from.
        letters: A subscription of the dead-letter topic that nobody else takes from.
    """

    def __init__(  # noqa: PLR0913
        self,
        *,
        subscriber: SubscriberClient,
        client: bigquery.Client,
        dataset: str,
        tables: Sequence[Table],
        published: str,
        letters: str,
    ) -> None:
        self._subscriber = subscriber
        self._client = client
        self._dataset = dataset
        self._tables = with_event_id(tables)
        self._subscriptions = (published, letters)
        self._published: set[str] = set()
        self._letters: list[Message] = []
        # What an earlier stack left in a kept table is no part of this account.
        self._before = frozenset(row.event_id for row in self._read())

    def now(self) -> Account:
        """The account as it stands: first what arrived, then what was published until then.

        In that order nothing that arrives in between is taken for unknown.
        """
        project = self._client.project
        rows = tuple(row for row in self._read() if row.event_id not in self._before)
        published, letters = self._subscriptions
        self._letters += drain(self._subscriber, project, letters)
        self._published |= {m.event_id for m in drain(self._subscriber, project, published)}
        names = tuple(table.name for table in self._tables)
        return Account(frozenset(self._published), rows, tuple(self._letters), names)

    def settle(
        self,
        seconds: float,
        complete: Callable[[Account], bool] = lambda _: True,
        quiet: float = 0.0,
    ) -> Account:
        """Waits until the account balances, is `complete`, and stays so; or the time is up.

        What was handed to a job that was killed is handed out again one acknowledgement deadline
        later (`resources.ACK_DEADLINE_SECONDS`): the double that this may leave comes after the
        account has balanced for the first time, so whoever kills asks for more quiet than that.

        Args:
            seconds: How long it may take until the account balances; the quiet comes on top.
            complete: Whether all has arrived that must.
            quiet: Seconds that it must stay balanced and complete.

        Returns:
            The last account, whether it balances or not.
        """
        deadline = time.monotonic() + seconds
        since: float | None = None
        while True:
            asked = time.monotonic()
            account = self.now()
            if account.balanced() and complete(account):
                since = asked if since is None else since
                if asked - since >= quiet:
                    return account
            else:
                since = None
                if time.monotonic() > deadline:
                    return account
            time.sleep(_EVERY)

    def whole(self) -> list[Found]:
        """Every row with all its columns, but for those that were there before."""
        rows = whole(self._client, self._dataset, self._tables)
        return [row for row in rows if row.arrived.event_id not in self._before]

    def _read(self) -> list[Arrived]:
        return arrived(self._client, self._dataset, self._tables)


@dataclass(frozen=True, slots=True)
class Difference:
    """Where expectations and arrivals do not meet.

    Args:
        unmet: Expected, and not arrived as expected.
        rows: Arrived, and answering no expectation.
        letters: The same of dead letters, but for repeats of one that was expected.
    """

    unmet: tuple[Expected, ...]
    rows: tuple[Arrived, ...]
    letters: tuple[Message, ...]


def difference(expected: Iterable[Expected], account: Account) -> Difference:
    """Holds what arrived against what was expected; each arrival answers one expectation."""
    expected = tuple(expected)
    rows = Counter(account.rows)
    letters = Counter(map(_letter, account.letters))
    lost = tuple(each for each in expected if not _take(each, rows, letters))
    known = {(each.event_id, each.stage, each.error) for each in expected}
    strange = tuple(letter for letter in account.letters if _letter(letter) not in known)
    return Difference(lost, tuple(rows.elements()), strange)


def unmet(expected: Iterable[Expected], account: Account) -> list[Expected]:
    """What was expected and has not arrived as expected."""
    return list(difference(expected, account).unmet)


def _letter(letter: Message) -> tuple[str, str, str]:
    return letter.event_id, letter.attribute(STAGE), letter.attribute(ERROR)


def _take(
    each: Expected,
    rows: Counter[Arrived],
    letters: Counter[tuple[str, str, str]],
) -> bool:
    if each.outcome == "dead letter":
        letter = (each.event_id, each.stage, each.error)
        if not letters[letter]:
            return False
        letters[letter] -= 1
        return True
    for row, left in rows.items():
        if left and row.answers(each):
            rows[row] -= 1
            return True
    return False
