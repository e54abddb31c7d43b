/** Tests of the line splitter: any text, cut into any pieces, gives the same lines. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { readLines } from "./lines.ts";

async function collect(pieces: readonly Uint8Array[]): Promise<{ text: string; size: number }[]> {
  async function* stream() {
    yield* pieces;
  }
  const lines: { text: string; size: number }[] = [];
  for await (const some of readLines(stream(), "f")) lines.push(...some);
  return lines;
}

test("lines do not depend on how the stream is cut", async () => {
  const line = fc.oneof(fc.string({ unit: "grapheme" }), fc.constantFrom("", "a\u2028b", "\u0085", "x\ry", "\ufeff"));
  const input = fc.tuple(fc.array(line), fc.boolean(), fc.array(fc.nat({ max: 9 })));
  await fc.assert(
    fc.asyncProperty(input, async ([texts, closed, cuts]) => {
      const clean = texts.map((text) => text.replaceAll("\n", "").replace(/\r+$/, ""));
      const whole = new TextEncoder().encode(clean.join("\n") + (closed ? "\n" : ""));
      const pieces: Uint8Array[] = [];
      let at = 0;
      for (const cut of cuts) pieces.push(whole.subarray(at, (at = Math.min(at + cut, whole.length))));
      pieces.push(whole.subarray(at));
      const lines = await collect(pieces);
      const expected = new TextDecoder("utf-8", { ignoreBOM: true }).decode(whole).split("\n");
      if (expected.at(-1) === "") expected.pop();
      assert.deepEqual(
        lines.map(({ text }) => text),
        expected,
      );
      assert.equal(
        lines.reduce((sum, { size }) => sum + size, 0),
        whole.length,
      );
    }),
  );
});

test("a carriage return before the line feed is not text", async () => {
  assert.deepEqual(await collect([new TextEncoder().encode("a\r\nb\r")]), [
    { text: "a", size: 3 },
    { text: "b", size: 2 },
  ]);
});

test("bytes that are no text are refused with their place", async () => {
  await assert.rejects(collect([Uint8Array.of(97, 10, 0xff, 10)]), { code: "invalid", message: /^f:2 is not UTF-8/ });
});

test("a line longer than any record is refused before it fills the memory", async () => {
  const piece = new Uint8Array(1_048_576).fill(97);
  await assert.rejects(collect(Array.from({ length: 17 }, () => piece)), {
    code: "invalid",
    message: /^f:1 is longer/,
  });
});
