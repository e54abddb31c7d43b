/**
 * The codec against protobufjs as the oracle, on generated message types and values; golden bytes; damaged and random
 * input; the inferred types.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import protobuf from "protobufjs";
import { HoldfastError } from "../errors.ts";
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
  toProto,
  uint32,
  uint64,
  uint64Big,
} from "./index.ts";
import type { Field, Infer, Init, Message } from "./index.ts";

const scale = Number(process.env["HOLDFAST_TEST_SCALE"] ?? 1);
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

// ---- Generated message types -------------------------------------------------------------------------------------

/** A scalar type: how we name it, and a generator of its values with the shape that protobufjs gives them. */
const scalarTypes = {
  uint32: fc.nat(2 ** 32 - 1),
  int32: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  sint32: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  fixed32: fc.nat(2 ** 32 - 1),
  uint64: fc.oneof(fc.maxSafeNat(), fc.nat(300)),
  int64: fc.oneof(fc.maxSafeInteger(), fc.integer({ min: -300, max: 300 })),
  sint64: fc.maxSafeInteger(),
  uint64Big: fc.bigInt(0n, 2n ** 64n - 1n),
  int64Big: fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n),
  fixed64Big: fc.bigInt(0n, 2n ** 64n - 1n),
  bool: fc.boolean(),
  double: fc.double(),
  float: fc.float(),
  string: fc.string({ unit: fc.oneof(fc.string({ maxLength: 1 }), fc.constantFrom("é", "日", "𝄞")), maxLength: 80 }),
  bytes: fc.uint8Array({ maxLength: 300 }),
};
type ScalarName = keyof typeof scalarTypes;

interface FieldPlan {
  readonly number: number;
  readonly kind: "plain" | "optional" | "repeated" | "choice";
  readonly type: ScalarName | { readonly message: MessagePlan };
}
interface MessagePlan {
  readonly fields: readonly FieldPlan[];
}

const messagePlans: fc.Arbitrary<MessagePlan> = fc.letrec<{ message: MessagePlan }>((tie) => ({
  message: fc
    .uniqueArray(
      fc.record({
        number: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 2 ** 29 - 1 })),
        kind: fc.constantFrom("plain" as const, "optional" as const, "repeated" as const, "choice" as const),
        type: fc.oneof(
          { depthSize: "small", withCrossShrink: true },
          fc.constantFrom(...(Object.keys(scalarTypes) as ScalarName[])),
          fc.record({ message: tie("message") }),
        ),
      }),
      { selector: (field) => field.number, maxLength: 6 },
    )
    .map((fields) => ({ fields: fields.filter(({ number }) => number < 19_000 || number > 19_999) })),
})).message;

function ourMessage(plan: MessagePlan, name = "test.M"): Message<unknown, unknown> {
  const members: Record<string, Field<unknown, never>> = {};
  const choices: Record<string, Field<unknown, never>> = {};
  for (const { number, kind, type } of plan.fields) {
    const field = (
      typeof type === "string"
        ? scalarFields[type](number)
        : embed(number, ourMessage(type.message, `${name}X${number}`))
    ) as Field<unknown, never>;
    if (kind === "choice") choices[`f${number}`] = field;
    else if (kind === "optional") members[`f${number}`] = optional(field) as Field<unknown, never>;
    else members[`f${number}`] = kind === "repeated" ? repeated(field) : field;
  }
  const all = Object.keys(choices).length > 0 ? { ...members, choice: oneOf(choices) } : members;
  return message(name, all) as Message<unknown, unknown>;
}

function valuesOf(plan: MessagePlan): fc.Arbitrary<Record<string, unknown>> {
  const single = ({ type }: FieldPlan): fc.Arbitrary<unknown> =>
    typeof type === "string" ? scalarTypes[type] : valuesOf(type.message);
  const plain = plan.fields.filter(({ kind }) => kind !== "choice");
  const choices = plan.fields.filter(({ kind }) => kind === "choice");
  const record: Record<string, fc.Arbitrary<unknown>> = {};
  for (const field of plain) {
    const value = single(field);
    if (field.kind === "repeated") record[`f${field.number}`] = fc.array(value, { maxLength: 4 });
    else record[`f${field.number}`] = fc.option(value, { nil: undefined });
  }
  if (choices.length > 0) {
    record["choice"] = fc.option(
      fc.oneof(...choices.map((field) => single(field).map((value) => ({ case: `f${field.number}`, value })))),
      { nil: undefined },
    );
  }
  return fc.record(record);
}

/** Our decoded value in the shape of protobufjs's `toObject` with the options below. */
function flattened(value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(flattened);
  if (typeof value !== "object" || value === null) return value;
  const flat: Record<string, unknown> = {};
  for (const [name, held] of Object.entries(value)) {
    if (held === undefined) continue;
    if (name === "choice") {
      const choice = held as { case: string; value: unknown };
      flat[choice.case] = flattened(choice.value);
    } else flat[name] = flattened(held);
  }
  return flat;
}

function normalized(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(normalized);
  // 64-bit numbers as text on both sides.
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, held]) => [name, normalized(held)]));
}

/** Numbers of 64-bit fields are safe integers here and text there: compare all whole numbers as text. */
function comparable(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, held: unknown) => {
      if (typeof held === "number") return Object.is(held, -0) ? "-0" : String(held);
      return held;
    }) ?? "null",
  );
}

test("agrees with protobufjs on generated message types and values, both ways", () => {
  const cases = messagePlans.chain((plan) => fc.tuple(fc.constant(plan), valuesOf(plan)));
  fc.assert(
    fc.property(cases, ([plan, value]) => {
      const ours = ourMessage(plan);
      const proto = toProto("test", [ours]);
      const oracle = protobuf.parse(proto, { keepCase: true }).root.lookupType("test.M");
      const encoded = ours.encode(value);
      const decoded = ours.decode(encoded);
      // Ours is canonical: encoding what was decoded gives the same bytes.
      assert.deepEqual(ours.encode(decoded), encoded);
      // The oracle reads ours as the same values, and we read what the oracle writes.
      const object = oracle.decode(encoded);
      const theirs = normalized(
        oracle.toObject(object, { longs: String, defaults: true, arrays: true, bytes: Uint8Array }),
      );
      const present = withoutNull(theirs);
      assert.deepEqual(comparable(present), comparable(dropEmptyChoices(flattened(decoded), plan)));
      const back = ours.decode(Uint8Array.from(oracle.encode(object).finish()));
      assert.deepEqual(comparable(flattened(back)), comparable(flattened(decoded)));
    }),
    { numRuns: 200 * scale },
  );
});

function withoutNull(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNull);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, held]) => held !== null && held !== undefined)
      .map(([name, held]) => [name, withoutNull(held)]),
  );
}

/** protobufjs fills in nothing for absent members of a choice; neither do we. */
function dropEmptyChoices(value: unknown, _plan: MessagePlan): unknown {
  return value;
}

// ---- Golden bytes and the shape of types -------------------------------------------------------------------------

const Inner = message("test.Inner", { text: string(1), numbers: repeated(uint32(2)) });
const Sample = message("test.Sample", {
  key: bytes(1),
  count: uint64(2),
  delta: int64(3),
  flag: bool(4),
  kind: enumeration(5, { none: 0, first: 1, second: 2 }),
  limit: optional(uint32(6)),
  inner: embed(7, Inner),
  list: repeated(embed(8, Inner)),
  choice: oneOf({ left: embed(9, Inner), right: string(10) }),
});

function hex(value: Uint8Array): string {
  return Buffer.from(value).toString("hex");
}

test("golden bytes", () => {
  assert.equal(hex(Sample.encode({})), "");
  assert.equal(
    hex(
      Sample.encode({
        key: Uint8Array.of(1, 2),
        count: 300,
        delta: -1,
        flag: true,
        kind: "second",
        limit: 0,
        inner: { text: "é", numbers: [1, 300] },
        list: [{}, { text: "a" }],
        choice: { case: "right", value: "" },
      }),
    ),
    "0a020102" +
      "10ac02" +
      "18ffffffffffffffffff01" +
      "2001" +
      "2802" +
      "3000" +
      "3a090a02c3a9120301ac02" +
      "4200" +
      "42030a0161" +
      "5200",
  );
});

test("types are inferred, with defaults optional for encoding", () => {
  const decoded: Infer<typeof Sample> = Sample.decode(new Uint8Array(0));
  const kind: "none" | "first" | "second" = decoded.kind;
  const limit: number | undefined = decoded.limit;
  assert.deepEqual([kind, limit, decoded.count, decoded.list], ["none", undefined, 0, []]);
  const init: Init<typeof Sample> = { count: 1 };
  assert.equal(Sample.decode(Sample.encode(init)).count, 1);
  // @ts-expect-error -- a field of another name does not exist
  void (() => Sample.encode({ cuont: 1 }));
  // @ts-expect-error -- a name that the enumeration does not have
  void (() => Sample.encode({ kind: "third" }));
  if (decoded.choice?.case === "right") assert.equal(decoded.choice.value.length, 0);
});

test("a definition with wrong numbers is refused", () => {
  assert.throws(() => message("m", { a: uint32(1), b: uint32(1) }), /two fields with the number 1/);
  for (const number of [0, -1, 1.5, 2 ** 29, 19_500]) assert.throws(() => uint32(number), /is not allowed/);
});

test("values that do not fit are refused, naming the field, and leave the writer usable", () => {
  for (const [value, place] of [
    [{ count: -1 }, "count"],
    [{ count: 1.5 }, "count"],
    [{ count: 2 ** 53 }, "count"],
    [{ limit: 2 ** 32 }, "limit"],
    [{ inner: { text: "\ud800" } }, "text"],
  ] as const) {
    assert.throws(() => Sample.encode(value), { code: "invalid", message: new RegExp(`test\\.\\w+\\.${place}: `) });
    assert.deepEqual([...Sample.encode({ flag: true })], [0x20, 1]);
  }
});

test("unknown fields are skipped, damage is corrupt and named", () => {
  const more = message("test.More", { count: uint64(2), extra: bytes(500), last: double(600) });
  const bytesOfMore = more.encode({ count: 7, extra: Uint8Array.of(1, 2, 3), last: 1.5 });
  assert.equal(Sample.decode(bytesOfMore).count, 7);
  for (const [hex, place] of [
    ["0a05", "test.Sample.key: 5 bytes are announced, 0 are left"],
    ["10", "test.Sample.count: a number is cut off"],
    ["10ffffffffffffffffff01", "over 2\\^53"],
    ["3a030a01ff", "test.Inner.text: the bytes are not UTF-8"],
    ["2809", "test.Sample.kind: the number 9"],
    ["0b", "wire type 3"],
    ["00", "field number 0"],
    ["08", "test.Sample.key: wire type 0 where 2 is due"],
    ["0affffffffffffffffffff7f", "longer than 10|over"],
  ] as const) {
    assert.throws(() => Sample.decode(Uint8Array.from(Buffer.from(hex, "hex"))), {
      code: "corrupt",
      message: new RegExp(place),
    });
  }
});

test("random and mutated input is decoded or refused, and never anything else", () => {
  const tryDecode = (input: Uint8Array) => {
    try {
      Sample.decode(input);
    } catch (error) {
      assert.ok(error instanceof HoldfastError && error.code === "corrupt", String(error));
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), tryDecode), { numRuns: 5_000 * scale });
  const valid = Sample.encode({
    key: new Uint8Array(40),
    delta: -5,
    inner: { text: "héllo", numbers: [1, 2, 2 ** 31] },
    list: [{ text: "x" }],
    choice: { case: "left", value: {} },
  });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      (changes) => {
        const mutated = valid.slice();
        for (const [index, byte] of changes) mutated[index] = byte;
        tryDecode(mutated);
        tryDecode(mutated.subarray(0, changes[0]?.[0]));
      },
    ),
    { numRuns: 5_000 * scale },
  );
});

test("recursion has a limit", () => {
  interface Nest {
    readonly inner?: Nest | undefined;
  }
  const Nested: Message<Nest> = message("test.Nest", { inner: embed(1, () => Nested) });
  let value: Nest = {};
  for (let depth = 0; depth < 60; depth++) value = { inner: value };
  assert.deepEqual(Nested.encode(Nested.decode(Nested.encode(value))), Nested.encode(value));
  for (let depth = 0; depth < 10; depth++) value = { inner: value };
  assert.throws(() => Nested.decode(Nested.encode(value)), { code: "corrupt", message: /nest deeper than 64/ });
});
