-- One row a document, the deleted ones left out: the declared fields of its last event's data as
-- typed columns.
SELECT
  document_name,
  document_id,
  timestamp,
  operation,
  {fields}
FROM (
  {latest}
)
