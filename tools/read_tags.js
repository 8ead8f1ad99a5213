// Reads a JSON document that oobdump wrote, without oobdump: strict JSON first, then the tags of docs/reference/formats.md.
//
//   node tools/read_tags.js PART.json [more files]     prints each value, one line a file, in a form of its own (see `text`)
//   require('./read_tags.js').read(string[, bulk])     gives the value; `bulk` is the side part, as a Buffer
//
// Needs nothing but a JavaScript engine: no package is loaded but `fs`, and that only for files. Integers beyond 2^53 come
// as BigInt, which JSON.parse alone would round.

"use strict";

const MARK = "$oobdump";
const BODY = "v";

// What JavaScript has no type of its own for: the kind, and the body with its own tags read.
class Tagged {
  constructor(kind, body) {
    this.kind = kind;
    this.body = body;
  }
}

// A value that could not be written: object, instance, enum, dataclass, exception, cut.
class Marked extends Tagged {}

// An array of numpy or PyTorch: dtype and shape as their names and numbers, data as a Buffer (null where there is none).
class NumberArray {
  constructor(kind, body) {
    this.kind = kind;
    this.dtype = body.dtype;
    this.shape = body.shape === undefined ? [] : body.shape;
    this.order = body.order === undefined ? "C" : body.order;
    this.data = body.data === undefined ? null : body.data;
    this.body = body;
  }
}

const MARKS = new Set(["object", "instance", "enum", "dataclass", "exception", "cut"]);
const ARRAYS = new Set(["ndarray", "npscalar", "tensor"]);

// -- JSON, with integers kept whole ---------------------------------------------------------------------------------

// A reader of RFC 8259, so that no integer is rounded, no key comes twice, and key order is kept for every key.
class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  document() {
    const value = this.value(0);
    this.space();
    if (this.at !== this.text.length) this.fail("something behind the end");
    return value;
  }

  fail(what) {
    throw new SyntaxError(`${what} at character ${this.at}`);
  }

  space() {
    while (" \t\n\r".includes(this.text[this.at] || "x")) this.at += 1;
  }

  value(depth) {
    if (depth > 2000) this.fail("nested too deep");
    this.space();
    const first = this.text[this.at];
    if (first === "{") return this.object(depth);
    if (first === "[") return this.array(depth);
    if (first === '"') return this.string();
    for (const [word, value] of [["true", true], ["false", false], ["null", null]]) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    return this.number();
  }

  string() {
    const match = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
    match.lastIndex = this.at;
    const found = match.exec(this.text);
    if (found === null) this.fail("no string");
    this.at = match.lastIndex;
    return JSON.parse(found[0]);
  }

  number() {
    const match = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/y;
    match.lastIndex = this.at;
    const found = match.exec(this.text);
    if (found === null) this.fail("no value");
    this.at = match.lastIndex;
    if (found[1] !== undefined || found[2] !== undefined) return new Float(Number(found[0]));
    const whole = BigInt(found[0]);
    return found[0] === "-0" ? 0 : Number.isSafeInteger(Number(whole)) ? Number(whole) : whole;
  }

  array(depth) {
    const items = [];
    this.at += 1;
    this.space();
    if (this.text[this.at] === "]") {
      this.at += 1;
      return items;
    }
    for (;;) {
      items.push(this.value(depth + 1));
      this.space();
      const next = this.text[this.at];
      this.at += 1;
      if (next === "]") return items;
      if (next !== ",") this.fail("no comma");
    }
  }

  object(depth) {
    const pairs = new Map();
    this.at += 1;
    this.space();
    if (this.text[this.at] === "}") {
      this.at += 1;
      return pairs;
    }
    for (;;) {
      this.space();
      const key = this.string();
      this.space();
      if (this.text[this.at] !== ":") this.fail("no colon");
      this.at += 1;
      if (pairs.has(key)) this.fail("a key comes twice");
      pairs.set(key, this.value(depth + 1));
      this.space();
      const next = this.text[this.at];
      this.at += 1;
      if (next === "}") return pairs;
      if (next !== ",") this.fail("no comma");
    }
  }
}

// A number that was written with a point or an exponent: a float, even where it is whole.
class Float {
  constructor(value) {
    this.value = value;
  }
}

// -- tags -------------------------------------------------------------------------------------------------------------

function revive(value, bulk) {
  if (Array.isArray(value)) return value.map((item) => revive(item, bulk));
  if (!(value instanceof Map)) return value;
  if (!value.has(MARK)) return mapped(value, bulk);
  if (value.size !== 2 || !value.has(BODY)) throw new SyntaxError(`a map with the key ${MARK} that is no tag`);
  const kind = value.get(MARK);
  const body = revive(value.get(BODY), bulk);
  if (typeof kind !== "string") throw new SyntaxError("the kind of a tag is no string");
  if (MARKS.has(kind)) return new Marked(kind, body);
  if (ARRAYS.has(kind)) return new NumberArray(kind, Object.fromEntries(body));
  const made = Object.hasOwn(KINDS, kind) ? KINDS[kind](body, bulk) : new Tagged(kind, body);
  return made;
}

function mapped(value, bulk) {
  const found = new Map();
  for (const [key, item] of value) found.set(key, revive(item, bulk));
  return found;
}

function unescape(body) {
  return body.replace(/\\(\\|u[0-9a-f]{4})/g, (_, what) =>
    what === "\\" ? "\\" : String.fromCharCode(parseInt(what.slice(1), 16)),
  );
}

function integer(body) {
  const whole = body.startsWith("-") ? -BigInt(body.slice(1)) : BigInt(body);
  return whole;
}

function pairs(body) {
  if (body.length % 2) throw new SyntaxError("a dict with a key that has no value");
  const found = [];
  for (let at = 0; at < body.length; at += 2) found.push([body[at], body[at + 1]]);
  return new Tagged("dict", found);
}

const KINDS = {
  int: integer,
  float: (body) => new Float({ nan: NaN, inf: Infinity, "-inf": -Infinity }[body]),
  str: unescape,
  bytes: (body) => Buffer.from(body, "base64"),
  bytearray: (body) => new Tagged("bytearray", body),
  dict: pairs, // any keys: JavaScript's Map would take two equal tuples for two keys, as it should, but not find either
  bulk: (body, bulk) => {
    if (body === null) return null;
    if (bulk === undefined) throw new SyntaxError("bulk data is in the side part: the file of the same name and .bin");
    return bulk.subarray(Number(body.get("offset")), Number(body.get("offset")) + Number(body.get("size")));
  },
};

// -- one text for each value, the same that a test writes for Python's ---------------------------------------------------

// Types are told apart by their brackets and names; nothing is rounded.
function text(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number" || typeof value === "bigint") return `int ${BigInt(value)}`;
  if (typeof value === "string") return `str ${quoted(value)}`;
  if (value instanceof Float) return `float ${floatText(value.value)}`;
  if (Buffer.isBuffer(value)) return `bytes ${value.toString("hex")}`;
  if (Array.isArray(value)) return `[${value.map(text).join(", ")}]`;
  if (value instanceof Map) return `{${[...value].map(([key, item]) => `${text(key)}: ${text(item)}`).join(", ")}}`;
  if (value instanceof NumberArray) return arrayText(value);
  if (value.kind === "dict") return `{${value.body.map(([key, item]) => `${text(key)}: ${text(item)}`).join(", ")}}`;
  return `<${value.kind} ${text(value.body)}>`;
}

function arrayText(array) {
  const data = array.data === null ? "None" : `bytes ${array.data.toString("hex")}`;
  const dtype = typeof array.dtype === "string" ? array.dtype : text(array.dtype);
  return `<${array.kind} ${dtype} [${array.shape.join(", ")}] ${array.order} ${data}>`;
}

// The eight bytes: the only text of a float that every language writes the same.
function floatText(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(Number.isNaN(value) ? NaN : value);
  return bytes.toString("hex");
}

function quoted(value) {
  return `"${[...Array(value.length).keys()].map((at) => value.charCodeAt(at).toString(16).padStart(4, "0")).join(" ")}"`;
}

function read(string, bulk) {
  return revive(new Reader(string).document(), bulk);
}

module.exports = { read, text, Tagged, Marked, NumberArray, Float };

if (require.main === module) {
  const fs = require("fs");
  for (const path of process.argv.slice(2)) {
    const string = new TextDecoder("utf-8", { fatal: true }).decode(fs.readFileSync(path));
    const side = `${path}.bin`;
    const bulk = fs.existsSync(side) ? fs.readFileSync(side) : undefined;
    process.stdout.write(`${text(read(string, bulk))}\n`);
  }
}
