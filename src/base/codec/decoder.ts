/**
 * Makes the decoder of one message type as JavaScript of its own: one `switch` over tags with the fields in local
 * variables and one object literal at the end. That is more than twice as fast as going through the field objects
 * one by one (`codec.bench.ts`), since every call site then sees one type only and no property is stored twice.
 *
 * `MessageCodec` keeps the interpreter as the twin: tests hold the two together on random and damaged bytes, and it
 * stands in where making code from text is refused, as by a content security policy without `unsafe-eval`.
 *
 * 1. Only tags, field numbers and names that passed `plainName` become part of the text; everything else, including all
 *    that a peer sends, is passed in as a value.
 * 2. The fast paths are for the wire type that a field's own encoder writes. Every other tag takes the same way as in
 *    the interpreter: `lookUp`, then `Field.read` or `Reader.skip`.
 * 3. `place` names the slot under way whenever something can fail, and is -1 outside of any.
 */
import type { Field } from "./field.ts";
import type { Reader } from "./reader.ts";

/** What the text of a decoder is made from. */
export interface DecoderPlan {
  /** Properties in the order of the object literal, with what an absent one gives. */
  readonly properties: readonly { readonly name: string; readonly initial: unknown }[];
  readonly slots: readonly DecoderSlot[];
  /** Index of the slot with the number of this tag, -1 if there is none; throws `corrupt` on a number out of range. */
  lookUp(tag: number): number;
  /** The error to throw instead of `error`, which happened in that slot. */
  naming(error: unknown, place: number): unknown;
}

export interface DecoderSlot {
  readonly property: string;
  readonly caseName: string | undefined;
  readonly field: Field<unknown, never>;
}

/** Whether code may be made from text here. False after the first refusal; tests set it to have the interpreter. */
export const compilation = { allowed: true };

/** The decoder, or undefined where it cannot be made. */
export function compileDecoder(plan: DecoderPlan): ((reader: Reader) => unknown) | undefined {
  if (!compilation.allowed || !plan.properties.every(({ name }) => plainName(name))) return undefined;
  try {
    // The one place that makes code from text, of which no part comes from input (1).
    // oxlint-disable-next-line no-new-func, typescript/no-implied-eval
    const make = new Function("plan", decoderText(plan)) as (plan: DecoderPlan) => (reader: Reader) => unknown;
    return make(plan);
  } catch (error) {
    if (!(error instanceof EvalError)) throw error;
    compilation.allowed = false;
    return undefined;
  }
}

/** Whether a property's name can stand in an object literal as it is and means a plain property there. */
function plainName(name: string): boolean {
  return /^[A-Za-z_$][\w$]*$/.test(name) && name !== "__proto__";
}

/** The body of a function of `plan` that gives the decoder. */
function decoderText({ properties, slots }: DecoderPlan): string {
  const variable = new Map(properties.map(({ name }, index) => [name, `p${index}`]));
  // Every slot's property is one of the properties.
  const target = (slot: DecoderSlot) => variable.get(slot.property) as string;
  const store = (slot: DecoderSlot, value: string) =>
    slot.caseName === undefined
      ? `${target(slot)} = ${value};`
      : `${target(slot)} = { case: ${JSON.stringify(slot.caseName)}, value: ${value} };`;
  const before = (slot: DecoderSlot, place: number) =>
    slot.caseName === undefined ? target(slot) : `f${place}.initial`;
  const call = (slot: DecoderSlot, place: number, wireType: string) =>
    store(slot, `f${place}.read(reader, ${wireType}, ${before(slot, place)})`);

  const fastCases = slots.flatMap((slot, place) => {
    const { number, wireType, inline } = slot.field;
    if (wireType === undefined) return [];
    return [`case ${number * 8 + wireType}:`, `place = ${place};`, ...inlined(inline, slot), "break;"];

    function inlined(how: typeof inline, of: DecoderSlot): string[] {
      if (how === "varint") return [...varint, store(of, "number")];
      if (how === "bytes") {
        return [
          ...varint,
          "if (number > end - at) throw reader.tooLong(number, end - at);",
          store(of, "new Uint8Array(buffer, base + at, number)"),
          "at += number;",
        ];
      }
      return ["reader.position = at;", call(of, place, String(wireType)), "at = reader.position;"];
    }
  });
  const slowCases = slots.map((slot, place) => `case ${place}: ${call(slot, place, "tag & 7")} break;`);
  return [
    `"use strict";`,
    "const { naming, lookUp } = plan;",
    ...slots.map((_, place) => `const f${place} = plan.slots[${place}].field;`),
    ...properties.map(({ initial }, index) => `const i${index} = ${initialText(initial, index)};`),
    "return function decode(reader) {",
    "const { input, buffer, base, end } = reader;",
    "let at = reader.position, place = -1, tag = 0, number = 0;",
    ...properties.map((_, index) => `let p${index} = i${index};`),
    "try {",
    "while (at < end) {",
    "place = -1;",
    ...varint.map((line) => line.replaceAll("number", "tag")),
    "switch (tag) {",
    ...fastCases,
    "default:",
    "reader.position = at;",
    "place = lookUp(tag);",
    "switch (place) {",
    ...slowCases,
    "default: reader.skip(tag & 7);",
    "}",
    "at = reader.position;",
    "}",
    "}",
    "} catch (error) {",
    "throw naming(error, place);",
    "}",
    "reader.position = at;",
    `return { ${properties.map(({ name }, index) => `${name}: p${index}`).join(", ")} };`,
    "};",
  ].join("\n");
}

/** Reads a varint at `at` into `number`: one byte here, more of them, and what is cut off, in the reader. */
const varint = [
  "if (at < end && (number = input[at]) < 128) at += 1;",
  "else { reader.position = at; number = reader.varint(); at = reader.position; }",
];

/** Plain values as they are written, so that the compiler knows them; others by reference. */
function initialText(initial: unknown, index: number): string {
  const plain = initial === undefined || initial === "" || typeof initial === "number" || typeof initial === "boolean";
  return plain ? (initial === "" ? `""` : String(initial)) : `plan.properties[${index}].initial`;
}
