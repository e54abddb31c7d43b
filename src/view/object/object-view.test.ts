/** The object view itself: operations of strangers are refused, old records go bit by bit, nothing of the deleted stays. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LocalStore } from "../../member/index.ts";
import { utf8 } from "../fixture.suite.ts";
import { defineObject } from "../index.ts";
import { openPair } from "../store-pair.suite.ts";
import { proposeOne } from "../view-source.ts";
import type { ObjectOperation } from "./object-view.ts";

const Tally = defineObject("tally", {
  initial: () => ({ n: 0 }),
  commands: { up: (state, by: number) => (state.n += by) },
});

function propose(store: LocalStore, operation: ObjectOperation["operation"]) {
  return proposeOne(store.localViews, store.views.object, { operation }, undefined);
}

/** How many entries the view has under a letter. */
function count(store: LocalStore, letter: string): number | Promise<number> {
  const code = letter.charCodeAt(0);
  const range = { start: new Uint8Array([26, code]), end: new Uint8Array([26, code + 1]) };
  return store.replica.readNow((tree) => tree.count(range));
}

test("what a stranger proposes is refused with a reason, and changes nothing", async (t) => {
  const { local } = await openPair(t);
  const name = { type: "tally", key: "a" };
  const append = {
    name,
    version: 1,
    command: "up",
    body: utf8("[1]"),
    seed: 1,
    timeMs: undefined,
    expected: undefined,
  };
  const snapshot = { name, id: 1, sequence: 1, version: 1, parts: [utf8('{"n":1}')] };
  const bad: readonly (readonly [ObjectOperation["operation"], RegExp])[] = [
    [undefined, /this version knows/],
    [{ case: "append", value: { ...append, name: undefined } }, /names no object/],
    [{ case: "append", value: { ...append, name: { type: "", key: "a" } } }, /type is empty/],
    [{ case: "append", value: { ...append, name: { type: "t", key: "a\u0000" } } }, /control character/],
    [{ case: "append", value: { ...append, command: "" } }, /is empty/],
    [{ case: "append", value: { ...append, version: 0 } }, /versions begin with 1/],
    [{ case: "append", value: { ...append, body: new Uint8Array(1_048_577) } }, /valueSizeMax/],
    [{ case: "append", value: { ...append, expected: 7 } }, /has had 0 commands, not 7/],
    [{ case: "snapshot", value: snapshot }, /is gone/],
  ];
  for (const [operation, message] of bad) await assert.rejects(propose(local, operation), { message });
  assert.equal(await count(local, "o"), 0);
  const { result } = await propose(local, { case: "append", value: append });
  const { id } = result;
  const late: readonly (readonly [Partial<typeof snapshot>, RegExp])[] = [
    [{ id: id + 1 }, /is gone/],
    [{ sequence: 2 }, /too late/],
    [{ sequence: 0 }, /too late/],
    [{ sequence: 0, version: 2 }, /too late/],
    [{ version: 0 }, /has records of version 1; this program has 0/],
    [{ parts: [] }, /objectSizeMax/],
    [{ parts: [new Uint8Array(1_048_577)] }, /objectSizeMax/],
    [{ parts: Array.from({ length: 9 }, () => new Uint8Array(1_048_576)) }, /objectSizeMax/],
  ];
  for (const [part, message] of late) {
    const value = { ...snapshot, id, ...part };
    await assert.rejects(propose(local, { case: "snapshot", value }), { message });
  }
  await assert.rejects(propose(local, { case: "append", value: { ...append, version: 2 } }), { code: "conflict" });
  using tally = await local.object(Tally, "a");
  assert.deepEqual(tally.state, { n: 1 });
});

test("old commands go behind a snapshot, bit by bit, and those of the deleted go too", async (t) => {
  const { local } = await openPair(t);
  using tally = await local.object(Tally, "a", { snapshotEvery: 100_000 });
  const up = (times: number) => Promise.all(Array.from({ length: times }, () => tally.up(1)));
  await up(700);
  assert.equal(await count(local, "r"), 700);
  await tally.snapshot();
  await up(20);
  assert.equal(await count(local, "r"), 532, "the last 512 behind the snapshot stay");
  await tally.delete();
  assert.equal(await count(local, "o"), 0);
  assert.equal(await count(local, "s"), 0);
  assert.equal(await count(local, "g"), 1);
  using other = await local.object(Tally, "b");
  for (let number = 0; number < 40; number++) await other.up(1);
  assert.equal(await count(local, "r"), 40);
  assert.equal(await count(local, "g"), 0);
  assert.equal(await tally.up(5), 5, "it begins anew");
});

test("a state of several parts comes back whole", async (t) => {
  const { local, remote } = await openPair(t);
  const Text = defineObject("text", {
    initial: () => ({ lines: [] as string[] }),
    commands: { write: (state, line: string) => void state.lines.push(line) },
  });
  using text = await local.object(Text, "a");
  for (let number = 0; number < 3; number++) await text.write(String(number).repeat(900_000));
  await text.snapshot();
  assert.equal(await count(local, "s"), 3);
  using far = await remote.object(Text, "a");
  assert.deepEqual(far.state, text.state);
});
