// Decodes msgpack documents with @msgpack/msgpack and prints one line of text for each, as tests/peers/plain.py writes it.
//
// In: a file of documents, each after its length as four bytes, big-endian. Extension type 79 is a tag: [kind, body].

"use strict";

const fs = require("fs");
const { decode, ExtensionCodec } = require("@msgpack/msgpack");

class Tag {
  constructor(kind, body) {
    this.kind = kind;
    this.body = body;
  }
}

const extensionCodec = new ExtensionCodec();
const options = { extensionCodec, useBigInt64: true, mapKeyConverter: text };
extensionCodec.register({
  type: 79,
  encode: () => null,
  decode: (data) => new Tag(...decode(data, options)),
});

function text(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "bigint" && (value > 2n ** 53n || value < -(2n ** 53n))) return `int ${value}`;
  if (typeof value === "number" || typeof value === "bigint") return number(Number(value));
  if (typeof value === "string") return `str ${Buffer.from(value, "utf-8").toString("hex")}`;
  if (value instanceof Uint8Array) return `bytes ${Buffer.from(value).toString("hex")}`;
  if (Array.isArray(value)) return `[${value.map(text).join(", ")}]`;
  if (value instanceof Tag && value.kind === "dict") return entries(pairs(value.body));
  if (value instanceof Tag && ARRAYS.has(value.kind)) return arrayText(value);
  if (value instanceof Tag) return `<${value.kind} ${text(value.body)}>`;
  return entries(Object.entries(value));
}

const ARRAYS = new Set(["ndarray", "npscalar", "tensor"]);

function arrayText(array) {
  const [dtype, shape, order, data] = ["dtype", "shape", "order", "data"].map((name) => array.body[text(name)]);
  const bytes = data === undefined ? "None" : `bytes ${Buffer.from(data).toString("hex")}`;
  return `<${array.kind} ${dtype} [${shape.join(", ")}] ${order === undefined ? "C" : order} ${bytes}>`;
}

// A map whose keys no map of msgpack can have in every language is a tag: keys and values in turn.
function pairs(body) {
  return body.flatMap((key, at) => (at % 2 ? [] : [[text(key), body[at + 1]]]));
}

function entries(all) {
  return `{${all.map(([key, item]) => `${key}: ${text(item)}`).join(", ")}}`;
}

// JavaScript has one type for what msgpack has two for: whole floats and integers are the same here.
function number(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(Number.isNaN(value) ? NaN : value);
  return `num ${bytes.toString("hex")}`;
}

const all = fs.readFileSync(process.argv[2]);
for (let at = 0; at < all.length; ) {
  const size = all.readUInt32BE(at);
  process.stdout.write(`${text(decode(all.subarray(at + 4, at + 4 + size), options))}\n`);
  at += 4 + size;
}
