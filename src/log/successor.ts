/**
 * The record that ends a log and names where it goes on. Format: docs/format.md, "The chain's records".
 */
import { bytes, concatBytes, message, string, toHex } from "../base/index.ts";
import type { Infer } from "../base/index.ts";

/** Where a log goes on. */
export const Successor = message("holdfast.log.Successor", {
  /** The kind of engine: `file`, `raft`, … */
  kind: string(1),
  /** What that kind needs to open it. */
  parameters: bytes(2),
});
export type Successor = Infer<typeof Successor>;

const chainByte = new Uint8Array([0]);

/** What a record of the chain says: where the log goes on, or that a section of it begins behind. */
const ChainRecord = message("holdfast.log.ChainRecord", {
  kind: string(1),
  parameters: bytes(2),
  /** Of the section that begins behind this record. */
  begins: bytes(3),
});

export function successorRecord(successor: Successor): Uint8Array {
  return concatBytes([chainByte, Successor.encode(successor)]);
}

/** The successor that a record names; undefined for one that names none. */
export function decodeSuccessor(record: Uint8Array): Successor | undefined {
  if (record[0] !== 0) return undefined;
  const { begins, kind, parameters } = ChainRecord.decode(record.subarray(1));
  return begins.length === 0 ? { kind, parameters } : undefined;
}

/** The record behind which the section with this id, which is not empty, begins. */
export function beginningRecord(id: Uint8Array): Uint8Array {
  return concatBytes([chainByte, ChainRecord.encode({ kind: "", parameters: new Uint8Array(0), begins: id })]);
}

/** The id of the section that begins behind a record; undefined where none does. */
export function beginningOf(record: Uint8Array): Uint8Array | undefined {
  if (record[0] !== 0) return undefined;
  const { begins } = ChainRecord.decode(record.subarray(1));
  return begins.length === 0 ? undefined : begins;
}

/** Equal for equal successors, and only for these. */
export function successorKey(successor: Successor): string {
  return toHex(Successor.encode(successor));
}

export function isSameSuccessor(a: Successor, b: Successor): boolean {
  return successorKey(a) === successorKey(b);
}
