/** The checker of serializability finds what is planted, and nothing in what has run one after another. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { checkSerializable } from "./serializability.ts";
import type { SeenTransaction, Version } from "./serializability.ts";

type Cells = Readonly<Record<string, string | undefined>>;

function seen(name: string, [beginMs, endMs]: readonly [number, number], reads: Cells, writes: Cells): SeenTransaction {
  return { name, beginMs, endMs, reads: new Map(Object.entries(reads)), writes: new Map(Object.entries(writes)) };
}

/** Each value is named after who wrote it. */
function versions(lists: Readonly<Record<string, readonly string[]>>): Map<string, Version[]> {
  return new Map(
    Object.entries(lists).map(([item, list]) => [item, list.map((value) => ({ value, writer: value.slice(0, 1) }))]),
  );
}

const always = [0, Number.POSITIVE_INFINITY] as const;
const planted: readonly (readonly [string, SeenTransaction[], Map<string, Version[]>, RegExp])[] = [
  [
    "a lost update",
    [
      seen("A", always, { x: undefined }, { x: "A1" }),
      seen("B", always, { x: "A1" }, { x: "B1" }),
      seen("C", always, { x: "A1" }, { x: "C1" }),
    ],
    versions({ x: ["A1", "B1", "C1"] }),
    /C reads x before it is written over/,
  ],
  [
    "a write skew",
    [
      seen("A", always, { x: undefined, y: undefined }, { x: "A1" }),
      seen("B", always, { x: undefined, y: undefined }, { y: "B1" }),
    ],
    versions({ x: ["A1"], y: ["B1"] }),
    /finds no/,
  ],
  [
    "a phantom",
    [
      seen("A", always, { "r/1": undefined, "r/2": undefined }, { sum: "A1" }),
      seen("B", always, { sum: "A1" }, { "r/2": "B1" }),
      seen("C", always, { "r/2": "B1", sum: undefined }, {}),
    ],
    versions({ sum: ["A1"], "r/2": ["B1"] }),
    /finds no sum/,
  ],
  [
    "a read of the past",
    [seen("A", [0, 1], {}, { x: "A1" }), seen("B", [2, 3], { x: undefined }, {})],
    versions({ x: ["A1"] }),
    /A ends\n.*before it begins/,
  ],
  [
    "half of a transaction",
    [seen("A", always, {}, { x: "A1", y: "A2" }), seen("B", always, { x: "A1", y: undefined }, {})],
    versions({ x: ["A1"], y: ["A2"] }),
    /finds no y/,
  ],
];

for (const [what, transactions, lists, message] of planted) {
  test(`it finds ${what}`, () => {
    assert.throws(() => checkSerializable(transactions, lists), { name: "Violation", message });
  });
}

test("a value that nobody wrote is told", () => {
  const read = seen("A", always, { x: "Z1" }, {});
  assert.throws(() => checkSerializable([read], new Map()), { message: /A has read Z1 of x, which it never was/ });
});

test("what has run one after another is serializable, also where ends overlap", () => {
  const step = fc.record({
    reads: fc.array(fc.nat(4)),
    writes: fc.array(fc.nat(4)),
    before: fc.nat(9),
    after: fc.nat(9),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const state = new Map<string, string>();
      const lists = new Map<string, Version[]>();
      const transactions = steps.map(({ reads, writes, before, after }, at): SeenTransaction => {
        const name = `t${at}`;
        const found = new Map(reads.map((item) => [`k${item}`, state.get(`k${item}`)]));
        const written = new Map(writes.map((item) => [`k${item}`, `${name}/${item}`]));
        for (const [item, value] of written) {
          state.set(item, value);
          lists.set(item, [...(lists.get(item) ?? []), { value, writer: name }]);
        }
        return { name, beginMs: at - before, endMs: at + after, reads: found, writes: written };
      });
      checkSerializable(transactions, lists);
    }),
    { numRuns: 100 },
  );
});
