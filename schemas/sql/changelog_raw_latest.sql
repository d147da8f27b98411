-- One row a document, the deleted ones left out: its last event, whatever order events came in, and
-- however often. The last is the one of the highest timestamp; of those that share it a DELETE,
-- else an UPDATE, else the rest, else an IMPORT, and then the one of the highest event_id.
SELECT
  document_name,
  document_id,
  timestamp,
  event_id,
  operation,
  data,
  old_data,
  path_params
FROM `{source}`
WHERE {days}
QUALIFY
  ROW_NUMBER() OVER (
    PARTITION BY document_name
    ORDER BY
      timestamp DESC NULLS LAST,
      CASE operation WHEN 'DELETE' THEN 0 WHEN 'UPDATE' THEN 1 WHEN 'IMPORT' THEN 3 ELSE 2 END,
      event_id DESC NULLS LAST,
      data DESC NULLS LAST
  ) = 1
  AND IFNULL(operation, '') != 'DELETE'
