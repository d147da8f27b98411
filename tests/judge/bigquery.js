// Stands where BigQuery's REST API is, so that what the extension's packages send is kept as sent.
// It knows just so much: what was made is there, what was not is 404.
"use strict";

const http = require("node:http");

/**
 * Starts it on a free port of this machine.
 * @returns {Promise<object>} `address`, `close()`, and what came: `tables` and `views` (bodies of
 *   tables.insert, by name), `changes` (bodies of tables.patch, by name), `rows` (what each
 *   insertAll holds, as text), `queries` (SQL of jobs).
 */
async function start() {
  const seen = { tables: {}, views: {}, changes: {}, rows: [], queries: [] };
  const made = new Map();
  const server = http.createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      const target = new URL(request.url, "http://bigquery");
      const text = Buffer.concat(parts).toString("utf8");
      const [status, body] = answer(seen, made, request.method, target.pathname, text);
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(body));
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { ...seen, address: `http://127.0.0.1:${server.address().port}`, close };
}

function answer(seen, made, method, where, text) {
  const body = text ? JSON.parse(text) : {};
  const [, project, ...rest] = /\/projects\/([^/]+)\/(.*)$/.exec(where) ?? [];
  const resource = rest.join("/");
  if (method === "POST" && resource.endsWith("/insertAll")) {
    seen.rows.push({ table: resource.split("/").at(-2), text });
    return [200, { kind: "bigquery#tableDataInsertAllResponse" }];
  }
  if (resource.startsWith("queries") || resource.startsWith("jobs")) {
    return query(seen, project, method, body);
  }
  if (method === "POST") {
    const kind = resource.split("/").at(-1);
    const name = kind === "tables" ? body.tableReference.tableId : body.datasetReference.datasetId;
    made.set(`${resource}/${name}`, body);
    if (kind === "tables") (body.view ? seen.views : seen.tables)[name] = body;
    return [200, body];
  }
  if (!made.has(resource)) {
    return [404, { error: { code: 404, message: "notFound", errors: [{ reason: "notFound" }] } }];
  }
  if (method === "PATCH" || method === "PUT") {
    seen.changes[resource.split("/").at(-1)] = body;
  }
  return [200, made.get(resource)];
}

function query(seen, project, method, body) {
  const sql = body.query ?? body.configuration?.query?.query;
  if (method === "POST" && sql) seen.queries.push(sql);
  const done = {
    jobReference: { projectId: project, jobId: "job", location: "US" },
    status: { state: "DONE" },
    configuration: { query: { query: sql } },
    jobComplete: true,
    schema: { fields: [] },
    rows: [],
    totalRows: "0",
  };
  return [200, done];
}

module.exports = { start };
