/**
 * The decoder made for a type and the interpreter, its twin: the same values from good bytes, the same errors from bad
 * ones, on generated types; and that the interpreter stands in where making code from text is refused.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import * as fc from "fast-check";
import { HoldfastError } from "../errors.ts";
import { compilation } from "./decoder.ts";
import {
  bool,
  bytes,
  double,
  embed,
  enumeration,
  fixed32,
  fixed64Big,
  float,
  int32,
  int64,
  int64Big,
  message,
  oneOf,
  optional,
  repeated,
  sint32,
  sint64,
  string,
  uint32,
  uint64,
  uint64Big,
} from "./index.ts";
import type { Field, Message } from "./index.ts";

/** Every scalar type by its name. */
const scalarFields = {
  bool,
  bytes,
  double,
  fixed32,
  fixed64Big,
  float,
  int32,
  int64,
  int64Big,
  sint32,
  sint64,
  string,
  uint32,
  uint64,
  uint64Big,
};
const scale = Number(process.env["HOLDFAST_TEST_SCALE"] ?? 1);

type AnyMessage = Message<unknown, unknown>;
type AnyField = Field<unknown, never>;

const scalarNames = Object.keys(scalarFields) as (keyof typeof scalarFields)[];
interface Plan {
  readonly fields: readonly {
    readonly number: number;
    readonly kind: "plain" | "optional" | "repeated" | "choice";
    readonly type: (typeof scalarNames)[number] | "enumeration" | { readonly message: Plan };
  }[];
}

const plans: fc.Arbitrary<Plan> = fc.letrec<{ plan: Plan }>((tie) => ({
  plan: fc.record({
    fields: fc.uniqueArray(
      fc.record({
        number: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.constantFrom(15, 16, 256, 257, 2 ** 28, 2 ** 29 - 1)),
        kind: fc.constantFrom("plain" as const, "optional" as const, "repeated" as const, "choice" as const),
        type: fc.oneof(
          { depthSize: "small", withCrossShrink: true },
          fc.constantFrom(...scalarNames, "enumeration" as const),
          fc.constantFrom("bytes" as const, "uint64" as const),
          fc.record({ message: tie("plan") }),
        ),
      }),
      { selector: ({ number }) => number, maxLength: 6 },
    ),
  }),
})).plan;

/** A type of its own at every call, so that two may decode in different ways. */
function build(plan: Plan, name = "test.M"): AnyMessage {
  const members: Record<string, AnyField> = {};
  const choices: Record<string, AnyField> = {};
  for (const { number, kind, type } of plan.fields) {
    let field: AnyField;
    if (type === "enumeration") field = enumeration(number, { none: 0, some: 3 }) as AnyField;
    else if (typeof type === "string") field = scalarFields[type](number);
    else field = embed(number, build(type.message, `${name}X${number}`)) as AnyField;
    if (kind === "choice") choices[`f${number}`] = field;
    else if (kind === "optional") members[`f${number}`] = optional(field) as AnyField;
    else members[`f${number}`] = kind === "repeated" ? repeated(field) : field;
  }
  return message(
    name,
    Object.keys(choices).length > 0 ? { ...members, choice: oneOf(choices) } : members,
  ) as AnyMessage;
}

type Outcome = { readonly value: unknown } | { readonly failed: string };

function outcome(decode: () => unknown): Outcome {
  try {
    return { value: decode() };
  } catch (error) {
    assert.ok(error instanceof HoldfastError && error.code === "corrupt", String(error));
    return { failed: error.message };
  }
}

/** Decodes with the interpreter, in embedded messages too: the kind is chosen at a type's first use, here. */
function interpreted(type: AnyMessage, input: Uint8Array): Outcome {
  compilation.allowed = false;
  try {
    return outcome(() => type.decode(input));
  } finally {
    compilation.allowed = true;
  }
}

const varint = (value: number): number[] =>
  value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];

/** Bytes that mostly look like fields of the plan: right and wrong wire types, unknown numbers, odd lengths. */
function inputs(plan: Plan, depth = 0): fc.Arbitrary<number[]> {
  const numbers = [...plan.fields.map(({ number }) => number), 1, 2, 900];
  const nested = plan.fields.flatMap(({ type }) => (typeof type === "string" ? [] : [type.message]));
  const payload = fc.oneof(
    fc.array(fc.nat(255), { maxLength: 6 }),
    fc.array(fc.constantFrom(0, 1, 3, 97, 128), { maxLength: 6 }),
    ...(depth < 3 ? nested.map((inner) => inputs(inner, depth + 1)) : []),
  );
  const number = fc.oneof(fc.nat(300), fc.constantFrom(0, 3, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1));
  const piece = fc.oneof(
    {
      weight: 6,
      arbitrary: fc
        .tuple(fc.constantFrom(...numbers), payload)
        .map(([n, p]) => [...varint(n * 8 + 2), ...varint(p.length), ...p]),
    },
    {
      weight: 5,
      arbitrary: fc.tuple(fc.constantFrom(...numbers), number).map(([n, v]) => [...varint(n * 8), ...varint(v)]),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.constantFrom(...numbers), fc.array(fc.nat(255), { minLength: 8, maxLength: 8 }))
        .map(([n, b]) => [...varint(n * 8 + 1), ...b]),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.constantFrom(...numbers), fc.array(fc.nat(255), { minLength: 4, maxLength: 4 }))
        .map(([n, b]) => [...varint(n * 8 + 5), ...b]),
    },
    { weight: 1, arbitrary: fc.array(fc.nat(255), { maxLength: 3 }) },
  );
  // Some are cut off, which inside another message must not lead into what follows it.
  const cut = fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 3 }));
  return fc.tuple(fc.array(piece, { maxLength: 6 }), cut).map(([list, size]) => {
    const whole = list.flat();
    return whole.slice(0, Math.max(0, whole.length - size));
  });
}

test("the decoder and its twin agree on generated types, on good bytes and on damaged ones", () => {
  let good = 0;
  let bad = 0;
  fc.assert(
    fc.property(
      plans.chain((plan) =>
        fc.tuple(fc.constant(plan), fc.array(inputs(plan), { minLength: 10, maxLength: 20 }), fc.nat(9)),
      ),
      ([plan, list, cut]) => {
        const [fast, slow] = [build(plan), build(plan)];
        for (const whole of list) {
          // In the middle of a larger buffer, so that reading past the end or from the wrong place shows.
          const buffer = Uint8Array.from([1, 2, 3, ...whole, 4, 5, 6]);
          for (const size of [whole.length, Math.max(0, whole.length - 1 - cut)]) {
            const input = buffer.subarray(3, 3 + size);
            const expected = interpreted(slow, input);
            const got = outcome(() => fast.decode(input));
            assert.deepEqual(got, expected);
            if ("value" in got) {
              good += 1;
              assert.deepEqual(Object.keys(got.value as object), Object.keys((expected as { value: object }).value));
              assert.deepEqual(slow.encode(got.value), fast.encode(got.value));
            } else bad += 1;
          }
        }
      },
    ),
    { numRuns: 700 * scale },
  );
  assert.ok(good > 2_000 && bad > 2_000, `${good} were decoded, ${bad} refused`);
});

test("a field of an inner message never reaches past that message, whatever follows it", () => {
  const Inner = message("test.Inner", { a: bytes(1), n: uint64(2), text: string(3), list: repeated(uint32(4)) });
  const Outer = message("test.Outer", { inner: embed(1, Inner), after: bytes(2) });
  const after = [0x12, 5, 1, 2, 3, 4, 5];
  for (const [inner, failure] of [
    [[0x0a, 5], "test.Inner.a: 5 bytes are announced, 0 are left"],
    [[0x0a, 2, 9], "test.Inner.a: 2 bytes are announced, 1 are left"],
    [[0x0a], "test.Inner.a: a number is cut off"],
    [[0x10], "test.Inner.n: a number is cut off"],
    [[0x10, 0x80], "test.Inner.n: a number is cut off"],
    [[0x80], "test.Inner: a number is cut off"],
    [[0x1a, 4], "test.Inner.text: 4 bytes are announced, 0 are left"],
    [[0x22, 1], "test.Inner.list: 1 bytes are announced, 0 are left"],
    [[0x28], "test.Inner: a number is cut off"],
    [[0x2a, 1], "test.Inner: 1 bytes are announced, 0 are left"],
  ] as const) {
    const input = Uint8Array.from([0x0a, inner.length, ...inner, ...after]);
    assert.deepEqual(
      outcome(() => Outer.decode(input)),
      { failed: failure },
    );
  }
});

test("bytes are views of the input, plain ones whatever the input is", () => {
  const Sample = message("test.Bytes", { a: bytes(1), list: repeated(bytes(2)), maybe: optional(bytes(3)) });
  const encoded = Sample.encode({ a: Uint8Array.of(1, 2), list: [Uint8Array.of(3)], maybe: Uint8Array.of() });
  for (const input of [encoded, Buffer.from(encoded)]) {
    const { a, list, maybe } = Sample.decode(input);
    for (const each of [a, ...list, maybe]) assert.equal(Object.getPrototypeOf(each), Uint8Array.prototype);
    assert.deepEqual([[...a], [...(list[0] ?? [])], maybe?.length], [[1, 2], [3], 0]);
    input[2] = 9;
    assert.equal(a[0], 9);
    input[2] = 1;
  }
});

test("names that could mean something else in code, and tags beyond 31 bits, decode all the same", () => {
  const odd = message("test.Odd", {
    ["a b"]: uint32(1),
    ["x: alert(1), y"]: string(2),
    ["1"]: uint64(3),
    choice: oneOf({ ['"quoted\u2028"']: uint32(4), plain: uint32(5) }),
    ["constructor"]: uint64(2 ** 29 - 1),
  });
  const named = message("test.Named", {
    return: uint32(1),
    at: uint64(2),
    p0: bytes(3),
    plan: string(4),
    $: uint32(2 ** 28),
  });
  const value = {
    "a b": 1,
    "x: alert(1), y": "t",
    "1": 7,
    choice: { case: '"quoted\u2028"', value: 3 },
    constructor: 9,
  } as const;
  assert.deepEqual(odd.decode(odd.encode(value)), value);
  const reserved = { return: 1, at: 2, p0: Uint8Array.of(3), plan: "4", $: 5 };
  assert.deepEqual(named.decode(named.encode(reserved)), reserved);
  const choosing = message("test.Choosing", { choice: oneOf({ ['"\u2028\\']: uint32(1), other: bytes(2) }) });
  const chosen = { choice: { case: '"\u2028\\', value: 3 } } as const;
  assert.deepEqual(choosing.decode(choosing.encode(chosen)), chosen);
});

test("where code may not be made from text, the interpreter decodes", () => {
  const program = `
    import assert from "node:assert/strict";
    import { bytes, message, uint64 } from ${JSON.stringify(new URL("./index.ts", import.meta.url).href)};
    import { compilation } from ${JSON.stringify(new URL("./decoder.ts", import.meta.url).href)};
    const Put = message("test.Put", { key: bytes(1), count: uint64(2) });
    const value = { key: Uint8Array.of(1, 2, 3), count: 300 };
    assert.deepEqual(Put.decode(Put.encode(value)), value);
    assert.throws(() => Put.decode(Uint8Array.of(10, 5)), /test.Put.key: 5 bytes are announced, 0 are left/);
    console.log(compilation.allowed);`;
  for (const [flags, allowed] of [
    [["--disallow-code-generation-from-strings"], false],
    [[], true],
  ] as const) {
    const run = spawnSync(process.execPath, [...flags, "--input-type=module", "-e", program], { encoding: "utf8" });
    assert.equal(run.stdout, `${allowed}\n`, run.stderr);
  }
});
