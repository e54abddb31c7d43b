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

export function successorRecord(successor: Successor): Uint8Array {
  return concatBytes([chainByte, Successor.encode(successor)]);
}

/** The successor that a record names; undefined for a record that is not the chain's. */
export function decodeSuccessor(record: Uint8Array): Successor | undefined {
  return record[0] === 0 ? Successor.decode(record.subarray(1)) : undefined;
}

/** Equal for equal successors, and only for these. */
export function successorKey(successor: Successor): string {
  return toHex(Successor.encode(successor));
}
