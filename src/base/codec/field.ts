/**
 * The field types of messages as values: `bytes(1)`, `optional(uint32(2))`, `repeated(embed(3, Other))`.
 *
 * A field knows its number, how a value is written (backwards, see `writer.ts`) and read, and what an absent one means.
 * Following proto3, a scalar at its default is not written; `optional` gives a field presence instead.
 */
import { assert } from "../assert.ts";
import { emptyBytes } from "../bytes.ts";
import { HoldfastError } from "../errors.ts";
import { corrupt } from "./reader.ts";
import type { Reader, WireType } from "./reader.ts";
import type { Writer } from "./writer.ts";

/** `bytes`: a view of the input. `varint`: what `Reader.varint` gives, without further checks. */
type Inline = "bytes" | "varint";

/** `T` is what decoding gives, `I` what encoding takes. */
export interface Field<T, I = T> {
  readonly number: number;
  /** How a .proto file writes the type, with `repeated` or `optional` before it. */
  readonly proto: string;
  /** The value of an absent field. */
  readonly initial: T;
  /** Writes the field, or nothing when the value says what its absence says. */
  write(writer: Writer, value: I): void;
  /** Writes the field whatever the value. */
  writePresent(writer: Writer, value: I): void;
  /** The wire type that `write` writes: the one that a decoder expects first. */
  readonly wireType?: WireType;
  /** What reading that wire type amounts to, where a decoder may do it by itself. */
  readonly inline?: Inline;
  /** Reads one occurrence; `before` is what earlier occurrences gave. */
  read(reader: Reader, wireType: number, before: T): T;
  /** For types of other files that a .proto must print too. */
  readonly refers?: () => ProtoType;
}

/** A field of one scalar type, which can be repeated (packed where its wire type allows) or optional. */
export interface ScalarField<T> extends Field<T> {
  readonly scalar: Scalar<T>;
}

/** What a .proto file prints as a type of its own. */
export interface ProtoType {
  readonly name: string;
  protoBody(): string;
  protoRefers(): readonly ProtoType[];
}

/** What `embed` needs of a message; `message.ts` makes them. */
export interface MessageType<T, I = T> extends ProtoType {
  write(writer: Writer, value: I): void;
  read(reader: Reader): T;
}

interface Scalar<T> {
  readonly proto: string;
  readonly wireType: WireType;
  readonly inline?: Inline;
  readonly initial: T;
  isDefault(value: T): boolean;
  write(writer: Writer, value: T): void;
  read(reader: Reader): T;
}

export function checkNumber(number: number): void {
  const reserved = number >= 19_000 && number <= 19_999;
  assert(
    Number.isInteger(number) && number >= 1 && number < 2 ** 29 && !reserved,
    `field number ${number} is not allowed`,
  );
}

function tagOf(number: number, wireType: WireType): number {
  checkNumber(number);
  return number * 8 + wireType;
}

function expectWireType(got: number, wanted: WireType): void {
  if (got !== wanted) throw corrupt(`wire type ${got} where ${wanted} is due`);
}

function scalarField<T>(number: number, scalar: Scalar<T>): ScalarField<T> {
  const tag = tagOf(number, scalar.wireType);
  const { initial, wireType } = scalar;
  return {
    number,
    scalar,
    proto: scalar.proto,
    wireType,
    ...(scalar.inline !== undefined && { inline: scalar.inline }),
    initial,
    write(writer, value) {
      if (value === undefined || scalar.isDefault(value)) return;
      scalar.write(writer, value);
      writer.varint(tag);
    },
    writePresent(writer, value) {
      scalar.write(writer, value);
      writer.varint(tag);
    },
    read(reader, got) {
      if (got !== wireType) expectWireType(got, wireType);
      return scalar.read(reader);
    },
  };
}

function invalid(message: string): HoldfastError {
  return new HoldfastError("invalid", message);
}

function wholeNumber(
  proto: string,
  min: number,
  max: number,
  scalar: Pick<Scalar<number>, "write" | "read">,
): Scalar<number> {
  return {
    proto,
    wireType: 0,
    initial: 0,
    isDefault: (value) => value === 0,
    write(writer, value) {
      if (!Number.isSafeInteger(value) || value < min || value > max) {
        throw invalid(`${String(value)} is not a whole number from ${min} to ${max}`);
      }
      scalar.write(writer, value);
    },
    read(reader) {
      const value = scalar.read(reader);
      if (value < min || value > max) throw corrupt(`${value} is not from ${min} to ${max}`);
      return value;
    },
  };
}

const readVarint = (reader: Reader) => reader.varint();
const readSigned = (reader: Reader) => reader.signedVarint();
const safeMax = Number.MAX_SAFE_INTEGER;
const int32Min = -(2 ** 31);
const int32Max = 2 ** 31 - 1;
const uint32Max = 2 ** 32 - 1;

const scalars = {
  uint32: wholeNumber("uint32", 0, uint32Max, { write: (writer, value) => writer.varint(value), read: readVarint }),
  uint64: {
    ...wholeNumber("uint64", 0, safeMax, { write: (writer, value) => writer.varint(value), read: readVarint }),
    // A varint is never out of these bounds.
    inline: "varint",
  },
  int32: wholeNumber("int32", int32Min, int32Max, {
    write: (writer, value) => writer.signedVarint(value),
    read: readSigned,
  }),
  int64: wholeNumber("int64", -safeMax, safeMax, {
    write: (writer, value) => writer.signedVarint(value),
    read: readSigned,
  }),
  sint32: wholeNumber("sint32", int32Min, int32Max, {
    write: (writer, value) => writer.varint(value < 0 ? -2 * value - 1 : 2 * value),
    read(reader) {
      const value = reader.varint();
      return value % 2 === 1 ? -(value + 1) / 2 : value / 2;
    },
  }),
  sint64: wholeNumber("sint64", -safeMax, safeMax, {
    write: (writer, value) => writer.bigVarint(value < 0 ? -2n * BigInt(value) - 1n : 2n * BigInt(value)),
    read(reader) {
      const value = reader.bigVarint();
      const number = Number((value >> 1n) ^ -(value & 1n));
      if (!Number.isSafeInteger(number)) throw corrupt(`the number ${number} is not a safe integer`);
      return number;
    },
  }),
  fixed32: {
    ...wholeNumber("fixed32", 0, uint32Max, {
      write: (writer, value) => writer.fixed32(value),
      read: (reader) => reader.fixed32(),
    }),
    wireType: 5,
  },
  uint64Big: {
    proto: "uint64",
    wireType: 0,
    initial: 0n,
    isDefault: (value) => value === 0n,
    write(writer, value) {
      if (value < 0n || value >= 1n << 64n) throw invalid(`${value} is not from 0 to 2^64 - 1`);
      writer.bigVarint(value);
    },
    read: (reader) => reader.bigVarint(),
  },
  int64Big: {
    proto: "int64",
    wireType: 0,
    initial: 0n,
    isDefault: (value) => value === 0n,
    write(writer, value) {
      if (BigInt.asIntN(64, value) !== value) throw invalid(`${value} does not fit 64 bits`);
      writer.bigVarint(value);
    },
    read: (reader) => BigInt.asIntN(64, reader.bigVarint()),
  },
  fixed64Big: {
    proto: "fixed64",
    wireType: 1,
    initial: 0n,
    isDefault: (value) => value === 0n,
    write(writer, value) {
      if (value < 0n || value >= 1n << 64n) throw invalid(`${value} is not from 0 to 2^64 - 1`);
      writer.fixed64(value);
    },
    read: (reader) => reader.fixed64(),
  },
  bool: {
    proto: "bool",
    wireType: 0,
    initial: false,
    isDefault: (value) => !value,
    write: (writer, value) => writer.varint(value ? 1 : 0),
    read: (reader) => reader.bigVarint() !== 0n,
  },
  double: {
    proto: "double",
    wireType: 1,
    initial: 0,
    // Minus zero is not the default: its bits differ.
    isDefault: (value) => Object.is(value, 0),
    write: (writer, value) => writer.double(value),
    read: (reader) => reader.double(),
  },
  float: {
    proto: "float",
    wireType: 5,
    initial: 0,
    isDefault: (value) => Object.is(value, 0),
    write: (writer, value) => writer.float(value),
    read: (reader) => reader.float(),
  },
  bytes: {
    proto: "bytes",
    wireType: 2,
    inline: "bytes",
    initial: emptyBytes,
    isDefault: (value) => value.length === 0,
    write(writer, value) {
      // Anything else with a `length` would make the writer's size a number that is none.
      if (!(value instanceof Uint8Array)) throw invalid(`${typeof value} where bytes (a Uint8Array) are due`);
      writer.bytes(value);
    },
    read: (reader) => reader.bytes(),
  },
  string: {
    proto: "string",
    wireType: 2,
    initial: "",
    isDefault: (value) => value === "",
    write: (writer, value) => writer.string(value),
    read: (reader) => reader.string(),
  },
} satisfies {
  bool: Scalar<boolean>;
  bytes: Scalar<Uint8Array>;
  string: Scalar<string>;
  uint64Big: Scalar<bigint>;
  int64Big: Scalar<bigint>;
  fixed64Big: Scalar<bigint>;
} & Record<string, Scalar<boolean> | Scalar<Uint8Array> | Scalar<string> | Scalar<bigint> | Scalar<number>>;

type NumberField = (number: number) => ScalarField<number>;
type BigField = (number: number) => ScalarField<bigint>;

/** 0 to 2^32 - 1. */
export const uint32: NumberField = (number) => scalarField(number, scalars.uint32);
/** 0 to 2^53 - 1, as a number; larger ones on the wire are `corrupt`. */
export const uint64: NumberField = (number) => scalarField(number, { ...scalars.uint64, inline: "varint" });
/** -2^31 to 2^31 - 1; a negative one takes ten bytes, as in Protocol Buffers. */
export const int32: NumberField = (number) => scalarField(number, scalars.int32);
/** A safe integer of either sign; a negative one takes ten bytes. */
export const int64: NumberField = (number) => scalarField(number, scalars.int64);
/** Zigzag: small negative numbers are short. */
export const sint32: NumberField = (number) => scalarField(number, scalars.sint32);
export const sint64: NumberField = (number) => scalarField(number, scalars.sint64);
/** 0 to 2^32 - 1 in always four bytes. */
export const fixed32: NumberField = (number) => scalarField(number, { ...scalars.fixed32, wireType: 5 });
/** All 64 bits, as a bigint. */
export const uint64Big: BigField = (number) => scalarField<bigint>(number, { ...scalars.uint64Big, wireType: 0 });
export const int64Big: BigField = (number) => scalarField<bigint>(number, { ...scalars.int64Big, wireType: 0 });
export const fixed64Big: BigField = (number) => scalarField<bigint>(number, { ...scalars.fixed64Big, wireType: 1 });
export const bool = (number: number): ScalarField<boolean> =>
  scalarField<boolean>(number, { ...scalars.bool, wireType: 0 });
export const double: NumberField = (number) => scalarField<number>(number, { ...scalars.double, wireType: 1 });
export const float: NumberField = (number) => scalarField<number>(number, { ...scalars.float, wireType: 5 });
/** Decoding gives a view of the input, not a copy. */
export const bytes = (number: number): ScalarField<Uint8Array> =>
  scalarField<Uint8Array>(number, { ...scalars.bytes, wireType: 2, inline: "bytes" });
/** UTF-8 text; other bytes are `corrupt`, a lone surrogate is `invalid`. */
export const string = (number: number): ScalarField<string> =>
  scalarField<string>(number, { ...scalars.string, wireType: 2 });

/** One name of a closed list. An unknown number on the wire is `corrupt`. One name must have the number 0. */
export function enumeration<Names extends Readonly<Record<string, number>>>(
  number: number,
  names: Names,
): ScalarField<keyof Names & string> {
  type Name = keyof Names & string;
  const byNumber = new Map(Object.entries(names).map(([name, value]) => [value, name as Name]));
  const initial = byNumber.get(0);
  assert(initial !== undefined, "an enumeration needs a name with the number 0");
  return scalarField<Name>(number, {
    proto: "uint32",
    wireType: 0,
    initial,
    isDefault: (value) => value === initial,
    write(writer, value) {
      const wire = names[value];
      if (wire === undefined) throw invalid(`${value} is not one of ${Object.keys(names).join(", ")}`);
      writer.varint(wire);
    },
    read(reader) {
      const wire = reader.varint();
      const name = byNumber.get(wire);
      if (name === undefined) throw corrupt(`the number ${wire} names none of ${Object.keys(names).join(", ")}`);
      return name;
    },
  });
}

/** A message inside a message; absent is undefined. A function instead of the message allows recursion. */
export function embed<T, I>(
  number: number,
  type: MessageType<T, I> | (() => MessageType<T, I>),
): Field<T | undefined, I | undefined> {
  const tag = tagOf(number, 2);
  let resolved: MessageType<T, I> | undefined = typeof type === "function" ? undefined : type;
  const resolve = () => (resolved ??= (type as () => MessageType<T, I>)());
  const writePresent = (writer: Writer, value: I | undefined) => {
    const before = writer.size;
    resolve().write(writer, value as I);
    writer.varint(writer.size - before);
    writer.varint(tag);
  };
  return {
    number,
    proto: "",
    wireType: 2,
    initial: undefined,
    refers: resolve,
    writePresent,
    write(writer, value) {
      if (value !== undefined) writePresent(writer, value);
    },
    read(reader, wireType) {
      expectWireType(wireType, 2);
      const outer = reader.enter();
      const value = resolve().read(reader);
      reader.leave(outer);
      return value;
    },
  };
}

/** A field with presence: absent is undefined, and a default that was written is read as written. */
export function optional<T, I>(field: Field<T, I>): Field<T | undefined, I | undefined> {
  return {
    number: field.number,
    proto: field.refers === undefined ? `optional ${field.proto}` : "",
    initial: undefined,
    ...(field.wireType !== undefined && { wireType: field.wireType }),
    ...(field.inline !== undefined && { inline: field.inline }),
    ...(field.refers !== undefined && { refers: field.refers }),
    writePresent: (writer, value) => field.writePresent(writer, value as I),
    write(writer, value) {
      if (value !== undefined) field.writePresent(writer, value);
    },
    read: (reader, wireType) => field.read(reader, wireType, field.initial),
  };
}

const emptyList: readonly never[] = Object.freeze([]);

/** Any number of values, in order. Scalars other than bytes and text are written packed, and read either way. */
export function repeated<T, I>(
  field: Field<T, I>,
): Field<readonly Exclude<T, undefined>[], readonly Exclude<I, undefined>[]> {
  type Item = Exclude<T, undefined>;
  type Items = readonly Item[];
  const scalar = (field as Partial<ScalarField<T & I>>).scalar;
  const packed = scalar !== undefined && scalar.wireType !== 2;
  const packedTag = tagOf(field.number, 2);
  const write = (writer: Writer, values: readonly Exclude<I, undefined>[]) => {
    if (values === undefined || values.length === 0) return;
    if (packed) {
      const before = writer.size;
      for (let index = values.length - 1; index >= 0; index--) scalar.write(writer, values[index] as T & I);
      writer.varint(writer.size - before);
      writer.varint(packedTag);
    } else {
      for (let index = values.length - 1; index >= 0; index--) field.writePresent(writer, values[index] as I);
    }
  };
  return {
    number: field.number,
    proto: `repeated ${field.proto}`,
    ...((packed || field.wireType !== undefined) && { wireType: packed ? 2 : field.wireType }),
    initial: emptyList,
    ...(field.refers !== undefined && { refers: field.refers }),
    write,
    writePresent: write,
    read(reader, wireType, before) {
      // The first occurrence makes the list, which no one else has seen yet; later ones add to it.
      const items: Item[] = before === (emptyList as Items) ? [] : (before as Item[]);
      if (packed && wireType === 2) {
        const outer = reader.enter();
        while (reader.position < reader.end) items.push(scalar.read(reader) as Item);
        reader.leave(outer);
      } else {
        items.push(field.read(reader, wireType, field.initial) as Item);
      }
      return items;
    },
  };
}
