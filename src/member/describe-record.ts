/** What a record of the log says, in words and as plain data, for `holdfast log tail`. */
import { HoldfastError, toHex, utf8Decode } from "../base/index.ts";
import { beginningOf, decodeSuccessor } from "../log/index.ts";
import { decodeCommand, makeViews, sessionViewId } from "../view/index.ts";
import type { DecodedOperation } from "../view/index.ts";

export interface RecordDescription {
  /** One line. */
  readonly summary: string;
  readonly session?: number;
  readonly sequence?: number;
  /** The proposer's time, milliseconds since the Unix epoch. */
  readonly timeMs?: number;
  readonly operations?: readonly unknown[];
}

const views = makeViews();
const summarySizeMax = 100;

export function describeRecord(record: Uint8Array): RecordDescription {
  try {
    const successor = decodeSuccessor(record);
    if (successor !== undefined) return { summary: `the log goes on in an engine of kind ${successor.kind}` };
    if (beginningOf(record) !== undefined) return { summary: "the log has come back here" };
    const { operations, session, sequence, timeMs } = decodeCommand(record);
    const decoded = operations.map(describeOperation);
    const summary = decoded.map(({ text }) => text).join("; ");
    const short = summary.length > summarySizeMax ? `${summary.slice(0, summarySizeMax - 1)}…` : summary;
    return { summary: short, session, sequence, timeMs, operations: decoded.map(({ data }) => data) };
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return { summary: `not a command: ${error.message}` };
  }
}

function describeOperation({ viewId, body }: DecodedOperation): { text: string; data: unknown } {
  if (viewId === sessionViewId) return { text: "session", data: { view: "session" } };
  const view = views.all.find(({ id }) => id === viewId);
  if (view === undefined) return { text: `view ${viewId}`, data: { view: viewId, body: toHex(body) } };
  const { operation } = view.operation.decode(body) as { operation?: { case: string; value: Record<string, unknown> } };
  if (operation === undefined) return { text: view.name, data: { view: view.name } };
  const value = plain(operation.value) as Record<string, unknown>;
  const subject = operation.value["key"] ?? (operation.value["span"] as { key?: unknown } | undefined)?.key;
  const noun = subject instanceof Uint8Array ? ` ${String(plain(subject))}` : "";
  return {
    text: `${view.name} ${operation.case}${noun}`,
    data: { view: view.name, operation: operation.case, ...value },
  };
}

/** Bytes as text where they are, else as hexadecimal digits; big numbers as text. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) {
    try {
      return utf8Decode(value);
    } catch {
      return toHex(value);
    }
  }
  if (typeof value === "bigint") return String(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plain(one)]));
}
