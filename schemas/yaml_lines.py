"""YAML read with its lines, so that what is wrong in a file is told by path and line.

Only what JSON knows too is read: mappings, lists, strings, numbers, true, false and null. A date
stays the string that was written, other tags are refused, and of a key that stands twice nothing
wins: it is a fault.
"""

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from schemas.problem import Problem

Path = tuple[str | int, ...]
"""Where a value stands: keys of mappings and indexes of lists, from the root."""

_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null")
)
_MERGE = "tag:yaml.org,2002:merge"
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class FileProblem(Problem):
    """A Problem of a file.

    Args:
        file: The file, as it was named.
        line: Where, from 1.
        path: Where inside its document: `$.columns[3].type`; '' for what is no YAML.
    """

    file: str = ""
    line: int = 0
    path: str = ""

    @classmethod
    def at(cls, file: str, line: int, path: str, what: str, remedy: str = "") -> "FileProblem":
        """A problem whose `where` reads `FILE:LINE: PATH`."""
        where = f"{file}:{line}: {path}" if path else f"{file}:{line}"
        return cls(where, what, remedy, file, line, path)


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file.

    Args:
        value: What it says.
        root: Its node, which knows the lines; None for an empty document.
        line: Where it begins.
    """

    value: Any
    root: Any
    line: int

    def line_of(self, path: Path) -> int:
        """The line of a value's key or item; of the nearest thing above it that is there."""
        node, line = self.root, self.line
        for segment in path:
            found = _below(node, segment)
            if found is None:
                break
            line, node = found
        return line


def path_text(path: Path) -> str:
    """A path as text: `$.columns[3].type`."""
    text = "$"
    for segment in path:
        if isinstance(segment, int):
            text += f"[{segment}]"
        else:
            text += f".{segment}" if _PLAIN_KEY.fullmatch(segment) else f"[{segment!r}]"
    return text


def read(text: str, file: str) -> tuple[list[Document], list[FileProblem]]:
    """Reads the documents of a file.

    Args:
        text: The file's text.
        file: Its name for messages.

    Returns:
        The documents, one of None for an empty file; and what is wrong with the YAML itself.
    """
    try:
        roots, problem = _compose(text, file)
        return ([], [problem]) if problem else _documents(roots, file)
    except yaml.reader.ReaderError as error:  # a character that YAML does not take
        line = text.count("\n", 0, error.position) + 1
        what = f"not YAML: character U+{error.character:04X} is not taken"
        return [], [FileProblem.at(file, line, "", what)]
    except yaml.MarkedYAMLError as error:
        return [], [_no_yaml(error, file)]
    except RecursionError:
        return [], [FileProblem.at(file, 1, "", "not YAML that can be read: nested too deep")]


def _compose(text: str, file: str) -> tuple[list[Any], FileProblem | None]:
    loader = _Loader(text)
    roots = []
    try:
        while loader.check_node():
            roots.append(loader.get_node())
    except (ValueError, OverflowError):  # of chr(): PyYAML checks the digits only
        what = "not YAML: an escape stands for no character; U+10FFFF is the last"
        return [], FileProblem.at(file, loader.line + 1, "", what)
    finally:
        loader.dispose()
    return roots, None


def _documents(roots: Sequence[Any], file: str) -> tuple[list[Document], list[FileProblem]]:
    documents: list[Document] = []
    problems: list[FileProblem] = []
    for root in roots or [None]:
        faults = list(_faults(root, file))
        problems += faults
        line = root.start_mark.line + 1 if root is not None else 1
        documents.append(Document(None if faults else _construct(root), root, line))
    return documents, problems


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, in which a date is the string that was written."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _TAGS | {_MERGE}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _no_yaml(error: yaml.MarkedYAMLError, file: str) -> FileProblem:
    mark = error.problem_mark or error.context_mark
    what = " ".join(filter(None, (error.problem, error.context)))
    return FileProblem.at(file, mark.line + 1 if mark else 1, "", f"not YAML: {what}")


def _construct(root: Any) -> Any:
    return None if root is None else _Loader("").construct_document(root)


def _faults(root: Any, file: str) -> Iterator[FileProblem]:
    """What makes a document more, or less, than JSON could say: each node is judged once."""
    stack: list[tuple[Any, Path]] = [] if root is None else [(root, ())]
    judged = set()
    while stack:
        node, path = stack.pop()
        if id(node) in judged:
            continue  # by an alias
        judged.add(id(node))
        line = node.start_mark.line + 1
        if node.tag not in _TAGS:
            remedy = "leave the tag out"
            yield FileProblem.at(file, line, path_text(path), f"no use for {node.tag!r}", remedy)
        elif isinstance(node, yaml.ScalarNode):
            try:
                _construct(node)
            except (ValueError, OverflowError):
                what = f"{shown(node.value)} is no {node.tag.rpartition(':')[2]}"
                yield FileProblem.at(file, line, path_text(path), what, "write it in quotes")
        elif isinstance(node, yaml.SequenceNode):
            stack += reversed([(item, (*path, i)) for i, item in enumerate(node.value)])
        else:
            yield from _keys(node, path, file)
            below = [(value, (*path, _name(key))) for key, value in node.value]
            stack += reversed(below)


def _keys(mapping: Any, path: Path, file: str) -> Iterator[FileProblem]:
    taken: dict[Hashable, int] = {}
    for key, value in mapping.value:
        line = key.start_mark.line + 1
        here = path_text((*path, _name(key)))
        if key.tag == _MERGE:
            items = value.value if isinstance(value, yaml.SequenceNode) else [value]
            if not all(isinstance(item, yaml.MappingNode) for item in items):
                yield FileProblem.at(file, line, here, "a mapping is merged, nothing else")
            continue
        if not isinstance(key, yaml.ScalarNode):
            yield FileProblem.at(file, line, path_text(path), "a key is a word, no list or mapping")
            continue
        if key.value in taken:
            what = f"the key stands twice, at first in line {taken[key.value]}"
            yield FileProblem.at(file, line, here, what, "leave one of the two")
        taken.setdefault(key.value, line)


def _below(node: Any, segment: str | int) -> tuple[int, Any] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(segment, int):
        if segment < len(node.value):
            item = node.value[segment]
            return item.start_mark.line + 1, item
    elif isinstance(node, yaml.MappingNode):
        # The last wins, as where a mapping is merged into it, which comes first.
        for key, value in reversed(node.value):
            if _name(key) == segment:
                return key.start_mark.line + 1, value
    return None


def _name(key: Any) -> str:
    return key.value if isinstance(key, yaml.ScalarNode) else "?"


def shown(value: Any) -> str:
    """A value for a message: in full where it is short."""
    text = repr(value) if isinstance(value, str | int | float | bool | None) else _kind(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


_LONGEST = 400


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, Sequence) else type(value).__name__
