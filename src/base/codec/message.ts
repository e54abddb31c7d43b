/**
 * Messages as values, from which their types are inferred, in the Protocol Buffers wire format.
 *
 * Encoding is canonical: fields ascend by number, scalars at their default are left out, repeated scalars are packed,
 * varints are minimal. Equal values therefore have equal bytes, and hashes are stable. Decoding accepts fields in any
 * order, takes the last of several occurrences of a singular field, passes over unknown fields, checks every length
 * before it is used, and fails with `corrupt`, naming message and field.
 *
 * Follows the Protocol Buffers encoding specification (proto3), without groups and without the merging of repeated
 * occurrences of a singular embedded message.
 */
import { assert } from "../assert.ts";
import { HoldfastError } from "../errors.ts";
import { compileDecoder } from "./decoder.ts";
import { checkNumber } from "./field.ts";
import type { Field, MessageType, ProtoType } from "./field.ts";
import { corrupt, Reader } from "./reader.ts";
import { Writer } from "./writer.ts";

/** A message type. `T` is what `decode` gives, `I` what `encode` takes. */
export interface Message<T, I = T> extends MessageType<T, I> {
  /** The full Protocol Buffers name: `holdfast.key.Put`. */
  readonly name: string;
  /** Canonical bytes in a new array. Fails with `invalid`, naming the field, on a value that does not fit its type. */
  encode(value: I): Uint8Array;
  /** The same bytes where the next message of any type will be written: for a caller who copies them at once. */
  encodeBriefly(value: I): Uint8Array;
  /** The inverse, with every default filled in. Fields of type bytes are views of the input. Fails with `corrupt`. */
  decode(bytes: Uint8Array): T;
  /** Writes the body (without a length) before what the writer holds; for formats that frame messages themselves. */
  write(writer: Writer, value: I): void;
  /** Reads until the reader's end. */
  read(reader: Reader): T;
}

/** The type of a decoded message. */
export type Infer<M> = M extends Message<infer T, infer _I> ? T : never;
/** The type that `encode` takes: what has a default may be left out. */
export type Init<M> = M extends Message<infer _T, infer I> ? I : never;

/** Exactly one of several fields, or none. */
export interface OneOf<T, I = T> {
  readonly oneOf: Readonly<Record<string, Field<unknown, never>>>;
  readonly types?: readonly [T, I];
}

type Case<Name extends string, Value> = { readonly case: Name; readonly value: Value };
type AnyField = Field<unknown, never>;
// `any` is the only way to say "whatever field" where both variances meet; nothing of it reaches a user's type.
// oxlint-disable-next-line typescript/no-explicit-any
type SomeField = Field<any, any>;
// oxlint-disable-next-line typescript/no-explicit-any
type SomeOneOf = OneOf<any, any>;
type Members = Readonly<Record<string, SomeField | SomeOneOf>>;
type ValueOf<F> = F extends OneOf<infer T, infer _I> ? T | undefined : F extends Field<infer T, infer _J> ? T : never;
type InitOf<F> = F extends OneOf<infer _T, infer I> ? I : F extends Field<infer _U, infer I> ? I : never;
type Values<M extends Members> = { readonly [Name in keyof M]: ValueOf<M[Name]> } & {};
type Inits<M extends Members> = { readonly [Name in keyof M]?: InitOf<M[Name]> | undefined } & {};

/** A choice among fields: `{ case: "put", value }`. The fields' numbers are of the message around it. */
export function oneOf<const F extends Readonly<Record<string, SomeField>>>(
  members: F,
): OneOf<
  { [Name in keyof F & string]: Case<Name, Exclude<ValueOf<F[Name]>, undefined>> }[keyof F & string],
  { [Name in keyof F & string]: Case<Name, Exclude<InitOf<F[Name]>, undefined>> }[keyof F & string]
> {
  return { oneOf: members };
}

/** One field as a message sees it: under which property, and for a member of a choice, as which case. */
interface Slot {
  readonly property: string;
  readonly caseName: string | undefined;
  readonly field: AnyField;
}

/** One writer for all: encoding is synchronous and never nested in itself, except through `write`. */
const sharedWriter = new Writer();
const briefWriter = new Writer();
/** Errors that already name their field; the innermost name is the most telling. */
const named = new WeakSet<HoldfastError>();

/** Numbers up to this are looked up in an array, larger ones in a map. */
const directNumberMax = 256;

class MessageCodec<T, I> implements Message<T, I> {
  readonly name: string;
  readonly #slots: readonly Slot[];
  readonly #direct: (Slot | undefined)[] = [];
  readonly #sparse = new Map<number, Slot>();
  readonly #initial: Readonly<Record<string, unknown>>;
  readonly #members: Members;
  #decoder: ((reader: Reader) => T) | undefined;

  constructor(name: string, members: Members) {
    this.name = name;
    this.#members = members;
    const slots: Slot[] = [];
    const initial: Record<string, unknown> = {};
    for (const [property, member] of Object.entries(members)) {
      if ("oneOf" in member) {
        initial[property] = undefined;
        for (const [caseName, field] of Object.entries(member.oneOf)) slots.push({ property, caseName, field });
      } else {
        initial[property] = member.initial;
        slots.push({ property, caseName: undefined, field: member });
      }
    }
    this.#initial = initial;
    this.#slots = slots.toSorted((a, b) => a.field.number - b.field.number);
    for (const slot of this.#slots) {
      const { number } = slot.field;
      checkNumber(number);
      assert(!this.#sparse.has(number), `${name} has two fields with the number ${number}`);
      this.#sparse.set(number, slot);
    }
    for (let number = 0; number <= directNumberMax; number++) this.#direct.push(this.#sparse.get(number));
  }

  encode(value: I): Uint8Array {
    this.#writeAlone(sharedWriter, value);
    return sharedWriter.finish();
  }

  encodeBriefly(value: I): Uint8Array {
    this.#writeAlone(briefWriter, value);
    return briefWriter.borrow();
  }

  #writeAlone(writer: Writer, value: I): void {
    assert(writer.size === 0, "a message is encoded while another is");
    try {
      this.write(writer, value);
    } catch (error) {
      writer.reset();
      throw error;
    }
  }

  decode(bytes: Uint8Array): T {
    return this.read(new Reader(bytes));
  }

  write(writer: Writer, value: I): void {
    const slots = this.#slots;
    const properties = value as Readonly<Record<string, unknown>>;
    let index = slots.length - 1;
    try {
      for (; index >= 0; index--) {
        const { property, caseName, field } = slots[index] as Slot;
        const held = properties[property];
        if (held === undefined) continue;
        if (caseName === undefined) field.write(writer, held as never);
        else {
          const choice = held as Case<string, never>;
          if (choice.case === caseName) field.writePresent(writer, choice.value);
        }
      }
    } catch (error) {
      throw this.#naming(error, slots[index]);
    }
  }

  read(reader: Reader): T {
    this.#decoder ??= this.#makeDecoder();
    return this.#decoder(reader);
  }

  /** At the first use, since many types are never read in one process. */
  #makeDecoder(): (reader: Reader) => T {
    const slots = this.#slots;
    const places = new Map(slots.map((slot, place) => [slot, place]));
    const compiled = compileDecoder({
      properties: Object.entries(this.#initial).map(([name, initial]) => ({ name, initial })),
      slots,
      lookUp: (tag) => {
        const slot = this.#slotOf(tag);
        return slot === undefined ? -1 : (places.get(slot) as number);
      },
      naming: (error, place) => this.#naming(error, slots[place]),
    });
    return (compiled as ((reader: Reader) => T) | undefined) ?? ((reader) => this.#interpret(reader));
  }

  /** The field of a tag; undefined if it is not known. */
  #slotOf(tag: number): Slot | undefined {
    const number = tag < 2_147_483_648 ? tag >>> 3 : Math.floor(tag / 8);
    if (number === 0 || number >= 536_870_912) throw corrupt(`field number ${number} is not allowed`);
    return number <= directNumberMax ? this.#direct[number] : this.#sparse.get(number);
  }

  /** Decodes field by field: the twin of what `compileDecoder` makes. */
  #interpret(reader: Reader): T {
    const value: Record<string, unknown> = { ...this.#initial };
    let slot: Slot | undefined;
    try {
      while (reader.position < reader.end) {
        slot = undefined;
        const tag = reader.varint();
        slot = this.#slotOf(tag);
        if (slot === undefined) {
          reader.skip(tag & 7);
        } else if (slot.caseName === undefined) {
          value[slot.property] = slot.field.read(reader, tag & 7, value[slot.property]);
        } else {
          const chosen = slot.field.read(reader, tag & 7, slot.field.initial);
          value[slot.property] = { case: slot.caseName, value: chosen };
        }
      }
    } catch (error) {
      throw this.#naming(error, slot);
    }
    return value as T;
  }

  /** The error with the name of the field where it happened before its message. */
  #naming(error: unknown, slot: Slot | undefined): unknown {
    if (!(error instanceof HoldfastError) || named.has(error)) return error;
    const place = slot === undefined ? this.name : `${this.name}.${slot.caseName ?? slot.property}`;
    const better = new HoldfastError(error.code, `${place}: ${error.message}`, { cause: error });
    named.add(better);
    return better;
  }

  protoRefers(): readonly ProtoType[] {
    return this.#slots.flatMap(({ field }) => (field.refers === undefined ? [] : [field.refers()]));
  }

  protoBody(): string {
    const line = (name: string, field: AnyField) => {
      const type = field.refers === undefined ? field.proto : `${field.proto}${shortName(field.refers().name)}`;
      return `${type} ${snakeCase(name)} = ${field.number};`;
    };
    const lines = Object.entries(this.#members).flatMap(([property, member]) => {
      if (!("oneOf" in member)) return [`  ${line(property, member)}`];
      const cases = Object.entries(member.oneOf).map(([name, field]) => `    ${line(name, field)}`);
      return [`  oneof ${snakeCase(property)} {`, ...cases, "  }"];
    });
    return [`message ${shortName(this.name)} {`, ...lines, "}"].join("\n");
  }
}

function shortName(name: string): string {
  return name.slice(name.lastIndexOf(".") + 1);
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Defines a message. Numbers must differ; they, not the names, are the format. */
export function message<const M extends Members>(name: string, members: M): Message<Values<M>, Inits<M>> {
  return new MessageCodec(name, members);
}

/** The .proto file (proto3) of these messages and all they refer to, for other tools. */
export function toProto(packageName: string, roots: readonly ProtoType[]): string {
  const all = new Map<string, ProtoType>();
  const visit = (type: ProtoType) => {
    if (all.has(type.name)) return;
    all.set(type.name, type);
    type.protoRefers().forEach(visit);
  };
  roots.forEach(visit);
  const bodies = [...all.values()].map((type) => type.protoBody());
  return [`syntax = "proto3";`, `package ${packageName};`, ...bodies].join("\n\n") + "\n";
}
