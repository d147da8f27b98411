"""Which table takes a document, by the collections that the table files name.

| written in a file | takes the documents of |
|---|---|
| `issues` | every collection of that id, at any depth |
| `users/{user}/issues/{issue}` | that path; `user` and `issue` become columns |
| `users/{user}/issues` | the same, without a name for the last segment |
| `teams/blue/issues/{issue}` | the collection of one document |

A path pattern comes before a collection's id; of two patterns the one that is literal further to
the left; what nothing matches goes to the default table, or to the dead letters, as the job is
told. A parameter's value is the document's id as it is in its name, not percent-encoded.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.event import Event
from schemas.shaping import Unmatched
from schemas.table import Table

# https://firebase.google.com/docs/firestore/quotas#collections_documents_and_fields
_NO_ID = re.compile(r"\.|\.\.|__.*__", re.DOTALL)
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)

DEFAULT_TABLE, DEAD_LETTERS = "default_table", "dead_letters"
UNMATCHED = (DEFAULT_TABLE, DEAD_LETTERS)
"""Where documents go that no table's collections match; the first is the default."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A path pattern: collections and documents in turn.

    Args:
        collections: The ids of its collections, from the outermost.
        documents: For each of them the id of a document, or None for any.
        parameters: For each of them the name that takes the id, or '' for none.
    """

    collections: tuple[str, ...]
    documents: tuple[str | None, ...]
    parameters: tuple[str, ...]

    @property
    def shape(self) -> tuple[tuple[str, ...], tuple[str | None, ...]]:
        """What it matches, whatever its parameters are called."""
        return self.collections, self.documents

    def match(self, documents: Sequence[str]) -> bool:
        """Whether it takes a document with these ids under its collections."""
        return all(
            wanted is None or wanted == given
            for wanted, given in zip(self.documents, documents, strict=True)
        )


def parse_collection(text: str) -> Pattern | None:
    """Reads what a file writes: a pattern, or None for a collection's id.

    Raises:
        ValueError: It is neither; the sentence says why.
    """
    segments = text.split("/")
    if not all(segments):
        raise ValueError(f"{text!r} has an empty segment")
    for position, segment in enumerate(segments):
        if _NO_ID.fullmatch(segment):
            raise ValueError(
                f"Firestore has no id {segment!r}, as in {text!r}: no `.`, `..`, `__x__`"
            )
        if "{" not in segment and "}" not in segment:
            continue
        if not _PARAMETER.fullmatch(segment):
            raise ValueError(
                f"{segment!r} in {text!r} is no parameter: write {{name}}, of letters, digits and _"
            )
        if position % 2 == 0:
            raise ValueError(
                f"{segment!r} stands in {text!r} where a collection's id does: segments are "
                "collection, document, collection, ... in turn"
            )
    if len(segments) == 1:
        return None
    ids = segments[1::2]
    found = [_PARAMETER.fullmatch(segment) for segment in ids]
    names = [match[1] if match else "" for match in found]
    documents = [None if match else id_ for match, id_ in zip(found, ids, strict=True)]
    if len(segments) % 2:
        names.append("")
        documents.append(None)
    if len({*filter(None, names)}) < len([*filter(None, names)]):
        raise ValueError(f"a parameter stands twice in {text!r}")
    return Pattern(tuple(segments[::2]), tuple(documents), tuple(names))


class Router:
    """Finds the table of an event.

    Args:
        tables: Of one job, exactly one of them the default.
        unmatched: One of `UNMATCHED`.
    """

    def __init__(self, tables: Sequence[Table], unmatched: str = DEFAULT_TABLE) -> None:
        self._default = next(table for table in tables if table.default)
        self._refuse = unmatched == DEAD_LETTERS
        self._by_id: dict[str, Table] = {}
        self._patterns: dict[tuple[str, ...], list[tuple[Pattern, Table]]] = {}
        for table in tables:
            for text in table.collections:
                pattern = parse_collection(text)
                if pattern is None:
                    self._by_id[text] = table
                else:
                    self._patterns.setdefault(pattern.collections, []).append((pattern, table))
        for patterns in self._patterns.values():
            patterns.sort(key=lambda each: [id_ is None for id_ in each[0].documents])

    def route(self, event: Event) -> tuple[Table, Mapping[str, str]]:
        """The table, and the values of its pattern's parameters by their names.

        Raises:
            Unmatched: No table takes the document, and the default table is not to.
        """
        if event.collection is None:
            return self._default, {}
        if self._patterns and event.document_path:
            segments = event.document_path.split("/")
            ids = segments[1::2]
            for pattern, table in self._patterns.get(tuple(segments[::2]), ()):
                if pattern.match(ids):
                    named = zip(pattern.parameters, ids, strict=True)
                    return table, {name: id_ for name, id_ in named if name}
        table_of_id = self._by_id.get(event.collection)
        if table_of_id is None and self._refuse:
            raise Unmatched(
                f"no table's collections match {str(event.document_path)[:500]!r}: name "
                f"{event.collection!r} in a table file, or let the default table take it"
            )
        return table_of_id or self._default, {}
