// Records what the Firebase extension makes of the recorded events: tests/data/changelog.
//
//     node tests/judge/record.js
//
// Reads tests/data/firestore_events.jsonl (messages of the Firestore emulator's events), gives each
// to the extension's own packages (installed into build/judge), and keeps what these send to BigQuery:
//
//   rows.jsonl         the row of each event, as sent
//   tables.json        the raw changelog's table, with and without the extension's options
//   views.json         the SQL of the raw_latest and the schema views, and of their functions
//   edge_events.jsonl  more events, of this program's own (edges.js)
//   numbers.json       doubles and the text that JavaScript gives them
//
// The same events give the same bytes.
"use strict";

const fs = require("node:fs");
const path = require("node:path");

const bigquery = require("./bigquery");
const { edgeEvents, numbers } = require("./edges");
const { extension } = require("./extension");
const { install } = require("./install");

const ROOT = path.join(__dirname, "..", "..");
const EVENTS = path.join(ROOT, "tests", "data", "firestore_events.jsonl");
const GOLDEN = path.join(ROOT, "tests", "data", "changelog");
const PROJECT = "demo-project";
const DATASET = "firestore_export";

// A schema of every type that the generator of schema views knows.
const SCHEMA = {
  fields: [
    { name: "title", type: "string", description: "What is wrong." },
    { name: "votes", type: "number" },
    { name: "blocked", type: "boolean" },
    { name: "due_at", type: "timestamp" },
    { name: "reference", type: "reference" },
    { name: "geo_point", type: "geopoint" },
    { name: "nothing", type: "null" },
    { name: "environment", type: "stringified_map" },
    {
      name: "reporter",
      type: "map",
      fields: [
        { name: "name", type: "string" },
        { name: "email", type: "string", column_name: "address" },
      ],
    },
    { name: "labels", type: "array" },
  ],
};
const ARRAYS = {
  fields: [{ name: "elements", type: "array_map", fields: [{ name: "text", type: "string" }] }],
};
const PLAIN = {
  fields: SCHEMA.fields.filter(({ type }) => !["array", "geopoint"].includes(type)),
};

async function main() {
  const say = console.log;
  const folder = path.join(ROOT, "build", "judge");
  const require_ = install(folder);
  const server = await bigquery.start();
  try {
    await record(require_, server, path.join(folder, "node_modules"));
    say(`recorded ${server.rows.length} rows in ${path.relative(process.cwd(), GOLDEN) || "."}`);
  } finally {
    await server.close();
  }
}

async function record(require_, server, modules) {
  Object.assign(process.env, {
    PROJECT_ID: PROJECT,
    GCLOUD_PROJECT: PROJECT,
    GOOGLE_CLOUD_PROJECT: PROJECT,
    BIGQUERY_EMULATOR_HOST: server.address,
    FIRESTORE_EMULATOR_HOST: "127.0.0.1:1", // nothing is asked of it
    METADATA_SERVER_DETECTION: "none",
  });
  require_("firebase-admin").initializeApp({ projectId: PROJECT });
  console.log = () => {}; // the packages tell each step
  // By its path: the package does not export it.
  const protobuf = require_(path.join(modules, "firebase-functions/protos/compiledFirestore.js"));
  const { DocumentEventData } = protobuf.google.events.cloud.firestore.v1;
  fs.mkdirSync(GOLDEN, { recursive: true });
  await recordTables(require_, server);
  await recordViews(require_, server);
  await recordRows(require_, server, DocumentEventData);
  write("numbers.json", `${JSON.stringify(numbers(2_000)).replaceAll("],[", "],\n[")}\n`);
}

async function recordTables(require_, server) {
  const made = {
    issues: { wildcardIds: true },
    without_wildcards: {},
    new_syntax: { wildcardIds: true, useNewSnapshotQuerySyntax: true },
    by_day: {
      wildcardIds: true,
      clustering: ["document_name"],
      partitioning: { granularity: "DAY", bigqueryColumnName: "timestamp" },
    },
  };
  for (const [tableId, options] of Object.entries(made)) {
    const instance = { project: PROJECT, dataset: DATASET, collection: "issues", tableId, ...options };
    await extension(require_, instance).tracker.initialize();
  }
  write("tables.json", pretty(server.tables));
}

async function recordViews(require_, server) {
  // `require` of a file, since the package's main is a command that runs.
  const { FirestoreBigQuerySchemaViewFactory } = require_(
    "@firebaseextensions/fs-bq-schema-views/lib/schema",
  );
  const factory = new FirestoreBigQuerySchemaViewFactory(PROJECT);
  for (const [name, schema] of Object.entries({ main: SCHEMA, plain: PLAIN, arrays: ARRAYS })) {
    const own = structuredClone(schema); // the factory writes into it
    await factory.initializeSchemaViewResources(DATASET, "issues", name, own);
  }
  const views = Object.entries(server.views).map(([name, { view }]) => {
    return [name, { query: view.query, columns: server.changes[name]?.schema?.fields ?? null }];
  });
  const functions = [...new Set(server.queries)];
  write("views.json", pretty({ functions, views: Object.fromEntries(views) }));
}

async function recordRows(require_, server, DocumentEventData) {
  const edges = edgeEvents(DocumentEventData);
  const lines = edges.map(({ attributes, data }) =>
    JSON.stringify({ data: data.toString("base64"), attributes }),
  );
  write("edge_events.jsonl", `${lines.join("\n")}\n`);
  const recorded = fs.readFileSync(EVENTS, "utf8").trimEnd().split("\n").map(JSON.parse);
  const messages = recorded.map(({ data, attributes }) => {
    // The emulator posts base64 where Eventarc posts the bytes.
    return { attributes, data: Buffer.from(Buffer.from(data, "base64").toString("latin1"), "base64") };
  });
  const instances = new Map();
  for (const { attributes, data } of [...messages, ...edges]) {
    const event = cloudEvent(attributes, data, DocumentEventData);
    const options = instance(event.document);
    if (!instances.has(options.tableId)) {
      instances.set(options.tableId, extension(require_, options));
    }
    const before = server.rows.length;
    await instances.get(options.tableId).handle(event);
    if (server.rows.length !== before + 1) throw new Error(`${event.id} gave no row`);
  }
  const rows = server.rows.map(({ table, text }) => {
    const { rows, ...more } = JSON.parse(text);
    if (rows.length !== 1) throw new Error(`${rows.length} rows in one request`);
    return JSON.stringify({ table, ...rows[0], ...more });
  });
  write("rows.jsonl", `${rows.join("\n")}\n`);
}

/** The extension as installed for the collection of a document: `teams/{teamsId}/members`. */
function instance(document) {
  const collections = document.split("/").filter((_, position) => position % 2 === 0);
  return {
    project: PROJECT,
    dataset: DATASET,
    tableId: collections.join("_"),
    collection: collections.join("/{}/").replace(/(\w+)\/{}/g, "$1/{$1Id}"),
    wildcardIds: true,
  };
}

/** What the Functions Framework hands a function of the second generation. */
function cloudEvent(attributes, data, DocumentEventData) {
  const event = { data, datacontenttype: attributes["content-type"] };
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("ce-")) event[name.slice(3)] = value;
  }
  // As the emulator sent it: ours hold it percent-decoded, or not at all where it is too long.
  const { value, oldValue } = DocumentEventData.decode(data);
  event.document = (value ?? oldValue).name.split("/").slice(5).join("/");
  return event;
}

function pretty(value) {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function write(name, text) {
  fs.writeFileSync(path.join(GOLDEN, name), text);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
