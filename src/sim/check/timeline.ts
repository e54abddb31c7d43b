/**
 * A part of a history as a picture: one line an operation, in the order in which they began, with a bar from begin to
 * end. The number before a bar is its place in the order that explains it.
 *
 * ```
 *        from ms       to ms  client    |--------------------|
 *   41   120.500     122.250  client 1  |  ├────┤            |  put a = 17 → revision 9
 *    ✗   123.000     124.000  client 2  |          ├──┤      |  get a → a = 16 (revision 8)
 * ```
 */
import { operationText } from "./operation.ts";
import type { Operation } from "./operation.ts";

interface Scene {
  readonly misfits: readonly Operation[];
  readonly prefix: readonly Operation[];
  readonly pending: readonly Operation[];
}

/** Operations of the explained part that are shown. */
const shownCountMax = 16;
const barSize = 40;

export function timeline({ misfits, prefix, pending }: Scene): string {
  const places = new Map(prefix.map((operation, index) => [operation, String(index + 1)]));
  for (const operation of pending) if (!places.has(operation)) places.set(operation, "?");
  for (const operation of misfits) places.set(operation, "✗");
  const shown = new Set([...prefix.slice(-shownCountMax), ...pending, ...misfits]);
  const rows = [...shown].toSorted((a, b) => a.begin - b.begin);
  const beginMs = Math.min(...rows.map(({ begin }) => begin).filter(Number.isFinite));
  const endMs = Math.max(...rows.flatMap(({ begin, end }) => [begin, end]).filter(Number.isFinite));
  const nameSize = Math.max(6, ...rows.map(({ client }) => client.length));
  const head = `  ${"".padStart(5)}  ${"from ms".padStart(12)}  ${"to ms".padStart(12)}  ${"client".padEnd(nameSize)}`;
  const lines = rows.map((operation) => {
    const { client, begin, end } = operation;
    const place = (places.get(operation) ?? "").padStart(5);
    const to = isOpen(operation) ? "" : end.toFixed(3);
    const times = `${begin.toFixed(3).padStart(12)}  ${to.padStart(12)}`;
    const bar = barOf(operation, beginMs, endMs);
    return `  ${place}  ${times}  ${client.padEnd(nameSize)}  |${bar}|  ${operationText(operation)}`;
  });
  const left = prefix.length - shownCountMax;
  const more = left > 0 ? [`  (${left} operations before these are explained)`] : [];
  return [...more, head, ...lines].join("\n");
}

function isOpen({ outcome, end }: Operation): boolean {
  return outcome.kind === "unknown" || !Number.isFinite(end);
}

function barOf(operation: Operation, beginMs: number, endMs: number): string {
  const scale = (barSize - 1) / Math.max(endMs - beginMs, Number.MIN_VALUE);
  const column = (ms: number) => Math.min(barSize - 1, Math.max(0, Math.round((ms - beginMs) * scale)));
  const from = column(operation.begin);
  const open = isOpen(operation);
  const to = open ? barSize - 1 : column(operation.end);
  const last = open ? "…" : "┤";
  const bar = from === to ? "┼" : `├${"─".repeat(to - from - 1)}${last}`;
  return bar.padStart(from + bar.length).padEnd(barSize);
}
