// Documents at the edges of JavaScript and of JSON, which the sample of local/documents.py lacks.
"use strict";

const NAME = "projects/demo-project/databases/(default)/documents/issues/";
const TIME = { seconds: 1767225600, nanos: 123456000 };

const nothing = { nullValue: 0 };
const text = (stringValue) => ({ stringValue });
const int = (integerValue) => ({ integerValue: String(integerValue) });
const double = (doubleValue) => ({ doubleValue });
const bytes = (...each) => ({ bytesValue: Buffer.from(each) });
const time = (seconds, nanos = 0) => ({ timestampValue: { seconds: String(seconds), nanos } });
const reference = (referenceValue) => ({ referenceValue });
const place = (latitude, longitude) => ({ geoPointValue: { latitude, longitude } });
const list = (...values) => ({ arrayValue: { values } });
const map = (fields) => ({ mapValue: { fields } });
const doubles = (...each) => list(...each.map(double));
const vector = (...each) => map({ __type__: text("__vector__"), value: doubles(...each) });

const DOCUMENTS = {
  "edge-numbers": {
    doubles: doubles(
      ...[0, -0, 1, -1, 0.1, 1 / 3, 123.456, 1e15, 1e16, 123456789012345680000, 1e20, 1e21, 1.5e21],
      ...[1e22, 1e100, 1e-4, 0.000123, 1e-5, 1e-6, 1.5e-6, 1e-7, 1.5e-7, 5e-324, 2.5e-323],
      ...[Number.MAX_VALUE, -Number.MAX_VALUE, 2 ** 53, 2 ** 53 + 2, 2 ** 60, 2 ** 63, 2 ** 64],
      ...[4503599627370497.5, NaN, Infinity, -Infinity],
    ),
    integers: list(
      ...[0, 1, -1, 2 ** 31, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n].map(int),
      ...[-(2n ** 53n) - 1n, 10n ** 18n, 2n ** 63n - 1n, -(2n ** 63n)].map(int),
    ),
  },
  "edge-bytes": {
    alone: bytes(0, 255),
    empty: bytes(),
    first: list(bytes(1), int(2), text("three")),
    last: list(int(1), bytes(2)),
    next_to: list(bytes(1), bytes(2), bytes(3), int(4)),
    only: list(bytes(1)),
    in_map: map({ before: int(1), bytes: bytes(2), after: int(3) }),
    in_maps: list(map({ bytes: bytes(1) }), map({ kept: int(2) })),
  },
  "edge-keys": {
    b: int(1),
    10: int(2),
    9: int(3),
    "-1": int(4),
    "01": int(5),
    a: int(6),
    4294967294: int(7),
    4294967295: int(8),
    "1.5": int(9),
    "": int(10),
    'say "x"': int(11),
    "\u2028\u007f\u0001": int(12),
    map: map({ z: int(1), 1: int(2), 0: int(3), y: map({ 2: nothing, x: nothing, 1: nothing }) }),
    constructor: text("not a class"),
    toJSON: text("not a function"),
  },
  "edge-times": {
    epoch: time(0),
    nanoseconds: time(1709168523, 123456789),
    before_1970: time(-1, 999999999),
    first: time(-62135596800),
    last: time(253402300799, 999999999),
    in_list: list(time(1, 1), map({ at: time(2, 2) })),
  },
  "edge-objects": {
    reference: reference(`${NAME}other`),
    other_database: reference("projects/p/databases/other/documents/a/b/c/d"),
    in_list: list(reference(`${NAME}x`), map({ to: reference(`${NAME}y`) })),
    geo_zero: place(0, 0),
    geo_negative_zero: place(-0, -0),
    geo: list(place(-33.8688, 151.2093)),
    vector: vector(1, -0.5, -0, 1e-7, NaN),
    empty_vector: vector(),
    empty: map({}),
    empties: list(map({}), nothing, text("")),
    nothing,
    like_a_time: map({ _seconds: int(1), _nanoseconds: int(2) }),
    like_a_vector: map({ __type__: text("__other__"), value: list(double(1)) }),
  },
  "edge-text": {
    controls: text(Array.from({ length: 33 }, (_, code) => String.fromCharCode(code)).join("")),
    escapes: text("\" \\ / \u007f \u0080 \u2028 \u2029 \ufeff \uffff \u{1f692}"),
  },
};

/**
 * The CloudEvents of the documents' creations, updates (to themselves and one more) and deletions.
 * @param {object} DocumentEventData The protobuf type.
 * @returns {object[]} Each `{attributes, data}`, as a message on the topic.
 */
function edgeEvents(DocumentEventData) {
  const events = [];
  for (const [id, fields] of Object.entries(DOCUMENTS)) {
    const document = (more) => ({
      name: NAME + id,
      fields: { ...fields, ...more },
      createTime: TIME,
      updateTime: TIME,
    });
    const changes = [{ value: document() }];
    if (id === "edge-keys") {
      changes.push({ value: document({ 5: int(0), 0: int(0), last: int(0) }), oldValue: document() });
      changes.push({ oldValue: document() });
    }
    for (const change of changes) {
      const data = DocumentEventData.encode(DocumentEventData.fromObject(change)).finish();
      events.push({ attributes: attributes(id, events.length), data: Buffer.from(data) });
    }
  }
  return events;
}

function attributes(id, number) {
  return {
    "ce-specversion": "1.0",
    "ce-id": `edge-${number}`,
    "ce-source": "//firestore.googleapis.com/projects/demo-project/databases/(default)",
    "ce-type": "google.cloud.firestore.document.v1.written",
    "ce-time": `2026-01-01T00:00:${String(number).padStart(2, "0")}.123456Z`,
    "ce-subject": `documents/issues/${id}`,
    "ce-document": `issues/${id}`,
    "ce-database": "(default)",
    "ce-project": "demo-project",
    "content-type": "application/protobuf",
  };
}

/**
 * Doubles over the whole range, each with the text that JSON.stringify gives it.
 * @param {number} count How many.
 * @returns {string[][]} Pairs of the double's eight bytes in hex, and its text.
 */
function numbers(count) {
  const pairs = [];
  const buffer = Buffer.alloc(8);
  let state = 1n;
  const random = () => {
    // SplitMix64 (Steele et al. 2014): the same numbers on every run.
    state = (state + 0x9e3779b97f4a7c15n) & 0xffffffffffffffffn;
    let z = state;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & 0xffffffffffffffffn;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & 0xffffffffffffffffn;
    return z ^ (z >> 31n);
  };
  while (pairs.length < count) {
    if (pairs.length % 2) {
      // Around where JavaScript changes from decimal to exponent: 1e-9 to 1e24.
      const exponent = Number(random() % 34n) - 9;
      const digits = Number(random() % 10n ** (1n + (random() % 17n)));
      buffer.writeDoubleBE(Number(`${digits}e${exponent - String(digits).length}`));
    } else {
      buffer.writeBigUInt64BE(random());
    }
    const number = buffer.readDoubleBE();
    if (Number.isFinite(number)) pairs.push([buffer.toString("hex"), JSON.stringify(number)]);
  }
  return pairs;
}

module.exports = { edgeEvents, numbers };
