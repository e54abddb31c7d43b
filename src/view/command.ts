/**
 * A command as bytes: one record of the log. The grammar stands in docs/format.md, "Commands and checkpoints".
 *
 * It is a Protocol Buffers message whose operations are messages with one field each, numbered with the id of the view
 * that the operation belongs to. Written by hand over the codec's reader and writer, since the views are not known here.
 */
import {
  bool,
  bytes,
  HoldfastError,
  limits,
  message,
  Reader,
  repeated,
  string,
  uint32,
  uint64,
  Writer,
} from "../base/index.ts";
import type { ErrorCode, Infer, Revision } from "../base/index.ts";
import type { View } from "./view.ts";

/** One operation to propose, of any view: a value of its type, or the bytes of one. */
export type Operation =
  | { readonly view: View; readonly body: unknown }
  | { readonly view: Pick<View, "id" | "result">; readonly encoded: Uint8Array };

/** Whoever brings commands into the log: a replica, or a client of one. */
export interface Proposer {
  /**
   * Proposes the operations as one command and resolves with what became of it, when it was applied where the proposer
   * reads. Rejects with `exhausted` or `invalid` before it is in the log; `unavailable`, `cancelled` or `timeout` with
   * `maybe: true` when it may be in it, or come to it.
   */
  propose(operations: readonly Operation[], options?: ProposeOptions): Promise<CommandOutcome>;
}

export interface ProposeOptions {
  readonly signal?: AbortSignal | undefined;
}

/** An operation with its type checked against its view. */
export function operation<Body, Result>(view: View<Body, Result>, body: Body): Operation {
  return { view: view as unknown as View, body };
}

export interface CommandHeader {
  /** The session, or 0 for a command that is proposed once and never retried. */
  readonly session: number;
  /** Counts the session's commands; in session 0, any number by which the proposer knows its command again. */
  readonly sequence: number;
  /** The session has the answers of all its commands below this sequence. */
  readonly acknowledgedBelow: number;
  /** The proposer's wall clock, milliseconds since the Unix epoch. */
  readonly timeMs: number;
}

export interface DecodedCommand extends CommandHeader {
  readonly operations: readonly DecodedOperation[];
}

export interface DecodedOperation {
  readonly viewId: number;
  /** A view of the record. */
  readonly body: Uint8Array;
}

/** What became of a command. */
export type CommandOutcome =
  | { readonly ok: true; readonly revision: Revision; readonly results: readonly unknown[] }
  | {
      readonly ok: false;
      readonly code: ErrorCode;
      readonly message: string;
      /** The command was refused because of its session: no view has seen it this time. */
      readonly sessionRefused?: boolean;
      /** The command has taken effect, and only its answer is lost. */
      readonly maybe?: boolean;
      /** The same operations are never taken again; see `Refusal`. */
      readonly final?: boolean;
    };

/** The outcome of a command that took effect; the error of one that was refused. */
export function accepted(outcome: CommandOutcome): Extract<CommandOutcome, { ok: true }> {
  if (outcome.ok) return outcome;
  throw refusalError(outcome);
}

export function refusalError({ code, message, maybe = false }: Extract<CommandOutcome, { ok: false }>): HoldfastError {
  return new HoldfastError(code, message, { maybe });
}

/** An outcome as bytes: remembered by sessions and sent to clients. */
export const EncodedOutcome = message("holdfast.view.Outcome", {
  revision: uint64(1),
  /** Empty when the command took effect. */
  code: string(2),
  message: string(3),
  results: repeated(bytes(4)),
  /** The session was refused, not the command. */
  sessionRefused: bool(5),
  /** The command has taken effect, and only its answer is lost. */
  maybe: bool(6),
  /** The same operations are never taken again. */
  final: bool(7),
});
export type EncodedOutcome = Infer<typeof EncodedOutcome>;

/** An operation on its way to the member that proposes it. */
export const EncodedOperation = message("holdfast.view.Operation", { viewId: uint32(1), body: bytes(2) });

const writer = new Writer();

/** `invalid` when the command is over a limit. */
export function encodeCommand(header: CommandHeader, operations: readonly Operation[]): Uint8Array {
  if (operations.length > limits.operationCountMax) {
    throw new HoldfastError(
      "invalid",
      `the command has ${operations.length} operations; the limit is ${limits.operationCountMax} (limits.operationCountMax): split it`,
    );
  }
  try {
    for (let index = operations.length - 1; index >= 0; index--) {
      const item = operations[index] as Operation;
      const before = writer.size;
      writer.bytes("encoded" in item ? item.encoded : item.view.operation.encode(item.body as never));
      writer.varint(item.view.id * 8 + 2);
      writer.varint(writer.size - before);
      writer.varint(5 * 8 + 2);
    }
    writeNumber(4, header.timeMs);
    writeNumber(3, header.acknowledgedBelow);
    writeNumber(2, header.sequence);
    writeNumber(1, header.session);
    if (writer.size > limits.recordSizeMax) {
      throw new HoldfastError(
        "invalid",
        `the command is ${writer.size} bytes; the limit is ${limits.recordSizeMax} (limits.recordSizeMax): split it`,
      );
    }
    return writer.finish();
  } finally {
    writer.reset();
  }
}

function writeNumber(field: number, value: number): void {
  if (value === 0) return;
  writer.varint(value);
  writer.varint(field * 8);
}

/** Fails with `corrupt` on bytes that are no command. */
export function decodeCommand(record: Uint8Array): DecodedCommand {
  const reader = new Reader(record);
  const command = { session: 0, sequence: 0, acknowledgedBelow: 0, timeMs: 0, operations: [] as DecodedOperation[] };
  while (reader.position < reader.end) {
    const tag = reader.varint();
    if (tag === 8) command.session = reader.varint();
    else if (tag === 16) command.sequence = reader.varint();
    else if (tag === 24) command.acknowledgedBelow = reader.varint();
    else if (tag === 32) command.timeMs = reader.varint();
    else if (tag === 42) command.operations.push(decodeOperation(reader));
    else reader.skip(tag % 8);
  }
  return command;
}

function decodeOperation(reader: Reader): DecodedOperation {
  const outer = reader.enter();
  const tag = reader.varint();
  if (tag % 8 !== 2) throw new HoldfastError("corrupt", `an operation of wire type ${tag % 8}`);
  const body = reader.bytes();
  if (reader.position !== reader.end) throw new HoldfastError("corrupt", "an operation of two views");
  reader.leave(outer);
  return { viewId: Math.floor(tag / 8), body };
}
