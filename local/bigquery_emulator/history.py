"""No history of tables."""

from typing import Any

from bqemulator.domain.errors import UnsupportedFeatureError
from bqemulator.versioning.snapshots import SnapshotManager


class NoHistory(SnapshotManager):  # type: ignore[misc]
    """Keeps no automatic snapshots.

    The stock manager copies the whole table after every append, for FOR SYSTEM_TIME: 200,000
    rows in, an append of 1,000 writes 200,000 more, and the memory grows by gigabytes. Snapshots
    that a user asks for (CREATE SNAPSHOT TABLE) are taken as before.
    """

    def capture(
        self, project_id: str, dataset_id: str, table_id: str, *, kind: str = "AUTO"
    ) -> Any:
        """Takes a snapshot if it was asked for by name; returns None for the automatic ones."""
        if kind == "AUTO":
            return None
        return super().capture(project_id, dataset_id, table_id, kind=kind)

    def resolve_time_travel(
        self, project_id: str, dataset_id: str, table_id: str, target: Any
    ) -> Any:
        """Refuses FOR SYSTEM_TIME: without snapshots it would show today's rows as the past's.

        Raises:
            UnsupportedFeatureError: Always.
        """
        raise UnsupportedFeatureError(
            f"FOR SYSTEM_TIME AS OF {target}: this stand-in keeps no history of "
            f"{project_id}.{dataset_id}.{table_id}"
        )
