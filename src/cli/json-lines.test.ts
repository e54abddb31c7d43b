/** Tests of the import and export lines: what is exported is imported as the same bytes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatLine, parseLine } from "./json-lines.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

test("any key and value survive export and import", () => {
  const anything = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.string().map(bytes),
    fc.json().map(bytes),
    fc.constantFrom("null", "1.0", "-0", "1e3", '{"a":1, "b":2}', '{"b":1,"a":2}', "\ufeffx", '"\\u0041"').map(bytes),
  );
  fc.assert(
    fc.property(anything, anything, (key, value) => {
      const line = formatLine({ key, value });
      assert.ok(!line.includes("\n"));
      const parsed = parseLine(line, { place: "test:1" });
      assert.deepEqual([...parsed.key], [...key]);
      assert.deepEqual([...parsed.value], [...value]);
    }),
    { numRuns: 2_000 },
  );
});

test("JSON stays readable, text stays text, bytes are base64", () => {
  assert.equal(formatLine({ key: bytes("a"), value: bytes('{"x":1}') }), '{"key":"a","value":{"x":1}}');
  assert.equal(formatLine({ key: bytes("a"), value: bytes("hello") }), '{"key":"a","text":"hello"}');
  assert.equal(formatLine({ key: bytes("a"), value: bytes('{"x": 1}') }), '{"key":"a","text":"{\\"x\\": 1}"}');
  assert.equal(formatLine({ key: Uint8Array.of(255), value: Uint8Array.of(0) }), '{"key64":"/w==","base64":"AA=="}');
});

test("a key field makes the whole line the value", () => {
  const line = '{"Package":"zsh","Size":3}';
  const parsed = parseLine(line, { keyField: "Package", prefix: "debian/", place: "p:1" });
  assert.equal(new TextDecoder().decode(parsed.key), "debian/zsh");
  assert.equal(new TextDecoder().decode(parsed.value), line);
});

test("bad lines are refused with their place", () => {
  for (const line of ["{", "[]", "3", "{}", '{"key":"a"}', '{"key":3,"text":""}']) {
    assert.throws(() => parseLine(line, { place: "f.jsonl:7" }), { code: "invalid", message: /^f\.jsonl:7 / });
  }
  assert.throws(() => parseLine('{"a":1}', { keyField: "b", place: "f:1" }), /field "b"/);
});
