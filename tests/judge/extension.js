// The extension firestore-bigquery-export, put together from its published packages: firebase-functions
// decodes the CloudEvent, the change tracker makes the row. The few lines between the two, which no
// package holds, are those of the extension's trigger: which side is which, and what a row is told.
"use strict";

/**
 * One instance of the extension for one collection, as its installer sets it up.
 * @param {NodeRequire} require_ Of the installed packages.
 * @param {object} options `collection` (a path pattern), `tableId`, and more of the tracker's.
 * @returns {object} `tracker`, and `handle(event)`, which takes a CloudEvent.
 */
function extension(require_, { project, dataset, collection, tableId, ...more }) {
  const { onDocumentWritten } = require_("firebase-functions/v2/firestore");
  const { ChangeType, FirestoreBigQueryEventHistoryTracker } = require_(
    "@firebaseextensions/firestore-bigquery-change-tracker",
  );
  const tracker = new FirestoreBigQueryEventHistoryTracker({
    bqProjectId: project,
    datasetId: dataset,
    firestoreInstanceId: "(default)",
    logLevel: "silent",
    skipInit: true, // as in the extension: its own tasks call initialize()
    tableId,
    ...more,
  });
  const handle = onDocumentWritten(`${collection}/{documentId}`, async (event) => {
    const { before, after } = event.data;
    const operation = !after.exists
      ? ChangeType.DELETE
      : !before.exists
        ? ChangeType.CREATE
        : ChangeType.UPDATE;
    await tracker.record([
      {
        timestamp: event.time,
        operation,
        documentName: `projects/${project}/databases/${event.database}/documents/${event.document}`,
        documentId: (after.exists ? after : before).id,
        pathParams: more.wildcardIds ? event.params : null,
        eventId: event.id,
        data: operation === ChangeType.DELETE ? undefined : tracker.serializeData(after.data()),
        oldData: operation === ChangeType.CREATE ? undefined : tracker.serializeData(before.data()),
      },
    ]);
  });
  return { tracker, handle };
}

module.exports = { extension };
