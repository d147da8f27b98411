"""Asks BigQuery for what the table files declare, and makes it so (`schemas.evolve` decides).

Written for the service, and right on the stand-in too. Every request has a deadline and is sent
once: a call that ended without an answer is made again by running the command again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.evolve import (
    Action,
    Difference,
    evolved_schema,
    function_differences,
    table_differences,
    view_differences,
)
from schemas.table import Table
from schemas.views import TableFunction, View, view_functions, views

DEADLINE = 30.0
"""Seconds for each request, unless told otherwise."""


Once = Mapping[str, Any]
"""How each request is made: with a deadline, and not again by Google's client itself."""


@dataclass(frozen=True, slots=True)
class Step:
    """What differs, a dataset, table, view or function, and how.

    Args:
        differences: At least one.
        do: Makes BigQuery as declared; does nothing where all that differs is kept.
    """

    differences: tuple[Difference, ...]
    do: Callable[[], None]


def steps(
    client: Any,
    dataset: str,
    tables: Sequence[Table],
    location: str = "",
    deadline: float = DEADLINE,
) -> tuple[Step, ...]:
    """Compares, and says what `apply` would do, in its order: dataset, tables, views, functions.

    Args:
        client: A `bigquery.Client` of the dataset's project.
        dataset: `project.dataset`.
        tables: Declared ones.
        location: Where a missing dataset is created; '' for BigQuery's own choice.
        deadline: Seconds for each request.

    Raises:
        GoogleAPICallError: BigQuery refused a question.
    """
    once: Once = {"timeout": deadline, "retry": None}
    found = [_dataset_step(client, dataset, location, once)]
    found += [_table_step(client, dataset, table, once) for table in tables]
    for table in tables:
        for name, view in views(table, dataset).items():
            found.append(_view_step(client, f"{dataset}.{name}", view, once))
        for name, function in view_functions(table, dataset).items():
            found.append(_function_step(client, f"{dataset}.{name}", function, once))
    return tuple(step for step in found if step.differences)


def differences(found: Sequence[Step]) -> list[Difference]:
    """Those of all the steps."""
    return [difference for step in found for difference in step.differences]


def take(found: Sequence[Step]) -> Iterator[Difference]:
    """Takes the steps; yields what each has settled, or kept, once it is done.

    Raises:
        ValueError: One of the steps is refused; nothing was done.
        GoogleAPICallError: BigQuery refused a step, or the table was changed since it was read;
            the steps before are done.
    """
    if any(each.action == Action.REFUSE for each in differences(found)):
        raise ValueError("a step is refused")
    for step in found:
        step.do()
        yield from step.differences


def _dataset_step(client: Any, dataset: str, location: str, once: Once) -> Step:
    from google.cloud import bigquery  # noqa: PLC0415 - loads the client

    def create() -> None:
        made = bigquery.Dataset(dataset)
        if location:
            made.location = location
        client.create_dataset(made, **once)

    live = _ask(lambda: client.get_dataset(dataset, **once))
    what = "is not there"
    missing = [] if live else [Difference(Action.CREATE, f"dataset {dataset}", what)]
    return Step(tuple(missing), create)


def _table_step(client: Any, dataset: str, table: Table, once: Once) -> Step:
    from google.cloud import bigquery  # noqa: PLC0415 - loads the client

    from schemas.apply import bigquery_table  # noqa: PLC0415 - likewise

    live = _get(client, f"{dataset}.{table.name}", once)
    found = table_differences(table, dataset, live)

    def create_or_change() -> None:
        if live is None:
            client.create_table(bigquery_table(table, dataset), **once)
        elif any(each.action != Action.KEEP for each in found):
            live.schema = [
                bigquery.SchemaField.from_api_repr(each)
                for each in evolved_schema(table, live.schema)
            ]
            live.description = table.description or live.description
            live.clustering_fields = list(table.clustering) or None
            # With the ETag that was read: another's change in between is refused, not undone.
            changed = ["schema", "description", "clustering_fields"]
            client.update_table(live, changed, **once)

    return Step(tuple(found), create_or_change)


def _view_step(client: Any, name: str, view: View, once: Once) -> Step:
    from google.cloud import bigquery  # noqa: PLC0415 - loads the client

    live = _get(client, name, once)

    def create_or_change() -> None:
        made = bigquery.Table(name) if live is None else live
        made.view_query = view.query
        made.description = view.description or made.description
        if live is None:
            client.create_table(made, **once)
        else:
            changed = ["view_query", "description"]
            client.update_table(made, changed, **once)

    return Step(tuple(view_differences(name, view, live)), create_or_change)


def _function_step(client: Any, name: str, function: TableFunction, once: Once) -> Step:
    from schemas.apply import (  # noqa: PLC0415 - loads the client
        FUNCTION_FIELDS,
        bigquery_function,
        same_function,
    )

    made = bigquery_function(name, function)
    live = _ask(lambda: client.get_routine(name, **once))

    def create_or_change() -> None:
        if live is None:
            client.create_routine(made, **once)
        else:
            client.update_routine(made, FUNCTION_FIELDS, **once)

    same = live is not None and same_function(live, made)
    return Step(tuple(function_differences(name, made, live, same=same)), create_or_change)


def _get(client: Any, name: str, once: Once) -> Any:
    return _ask(lambda: client.get_table(name, **once))


def _ask(question: Callable[[], Any]) -> Any:
    """The answer; None where nothing is there."""
    from google.api_core.exceptions import NotFound  # noqa: PLC0415 - loads the client

    try:
        return question()
    except NotFound:
        return None
