-- One row an event, with the declared fields of its data as typed columns; repeats are dropped.
SELECT
  document_name,
  document_id,
  timestamp,
  operation,
  {fields}
FROM `{source}`
WHERE TRUE
QUALIFY
  -- Imports of the Firebase extension have no event_id. A filter on what is named here reaches the
  -- table, so that one on timestamp prunes partitions.
  ROW_NUMBER() OVER (
    PARTITION BY event_id, document_name, timestamp, operation
    ORDER BY data DESC NULLS LAST, old_data DESC NULLS LAST
  ) = 1
