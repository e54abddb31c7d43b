/** The forms in which bytes may be given, and what becomes of a source that is left behind. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { FileInput } from "./index.ts";
import { inputPieces, isRepeatable } from "./file-input.ts";

async function text(input: FileInput, signal?: AbortSignal): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const piece of inputPieces(input, signal)) parts.push(piece);
  return Buffer.concat(parts).toString("utf8");
}

const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);

async function* generated(): AsyncGenerator<Uint8Array> {
  yield bytes("gr");
  yield bytes("");
  yield bytes("\u00fcn");
}

test("every form gives the same bytes", async () => {
  const forms: [FileInput, boolean][] = [
    ["gr\u00fcn", true],
    [bytes("gr\u00fcn"), true],
    [[bytes("gr"), bytes("\u00fcn")], true],
    [new Blob(["gr\u00fcn"]), true],
    [() => generated(), true],
    [() => "gr\u00fcn", true],
    [generated(), false],
    [new Blob(["gr\u00fcn"]).stream(), false],
    [new Set([bytes("gr"), bytes("\u00fcn")]), false],
    [{ getReader: () => new Blob(["gr\u00fcn"]).stream().getReader() }, false],
  ];
  for (const [form, repeatable] of forms) {
    assert.equal(isRepeatable(form), repeatable);
    assert.equal(await text(form), "gr\u00fcn");
    if (repeatable) assert.equal(await text(form), "gr\u00fcn");
  }
  assert.equal(await text(""), "");
});

test("large pieces are cut, and share memory with the source", async () => {
  const large = new Uint8Array(2_500_000);
  const sizes: number[] = [];
  for await (const piece of inputPieces(large)) {
    sizes.push(piece.length);
    assert.equal(piece.buffer, large.buffer);
  }
  assert.deepEqual(sizes, [1_048_576, 1_048_576, 402_848]);
});

test("what is no source is refused, also in the middle", async () => {
  for (const bad of [
    undefined,
    null,
    5,
    {},
    true,
    [1, 2],
    ["text"],
    (async function* () {
      yield "text";
    })(),
  ]) {
    await assert.rejects(text(bad as FileInput), { code: "invalid" });
  }
  await assert.rejects(text("\ud800"), { code: "invalid", message: /surrogate/ });
});

test("a source that waits does not hold up a cancelled call, and is told", async () => {
  const abort = new AbortController();
  let returned = 0;
  const waiting: AsyncIterable<Uint8Array> = {
    [Symbol.asyncIterator]: () => ({
      next: () => new Promise(() => {}),
      return: async () => {
        returned++;
        return { done: true, value: undefined };
      },
    }),
  };
  const reading = text(waiting, abort.signal);
  abort.abort();
  await assert.rejects(reading, { code: "cancelled" });
  assert.equal(returned, 1);

  let cancelled = 0;
  const stream = new ReadableStream<Uint8Array>({ pull: () => new Promise(() => {}), cancel: () => void cancelled++ });
  const second = new AbortController();
  const streaming = text({ getReader: () => stream.getReader() }, second.signal);
  second.abort();
  await assert.rejects(streaming, { code: "cancelled" });
  assert.equal(cancelled, 1);
});

test("a source's own failure comes through as it is", async () => {
  const failure = new Error("the disk is on fire");
  await assert.rejects(
    text(
      (async function* () {
        yield bytes("a");
        throw failure;
      })(),
    ),
    (error) => error === failure,
  );
});
