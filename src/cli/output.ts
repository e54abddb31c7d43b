/**
 * What the command prints. Results go to standard output, everything else to standard error, so that a pipe sees only
 * results. Exit status: 0 done, 1 failed, 2 wrong usage.
 */
import { styleText } from "node:util";
import { HoldfastError } from "../base/index.ts";

/** The command was typed wrongly: exit status 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** What the command itself ran has ended so: its exit status is passed on, and it has told why itself. */
export class ChildEnded extends Error {
  override readonly name = "ChildEnded";
  readonly status: number;

  constructor(status: number) {
    super(`it ended with exit status ${status}`);
    this.status = status;
  }
}

export interface OutputOptions {
  /** Print JSON, one value a line, instead of text for people. */
  readonly json?: boolean;
}

/** Writes to standard output and waits while the reader of a pipe is slow, so that memory does not fill. */
export async function print(text: string | Uint8Array): Promise<void> {
  if (process.stdout.write(text)) return;
  await new Promise<void>((resolve) => process.stdout.once("drain", () => resolve()));
}

export function printLine(text: string): Promise<void> {
  return print(`${text}\n`);
}

export function printJson(value: unknown): Promise<void> {
  return print(`${jsonText(value)}\n`);
}

/** On one line. JSON leaves a few characters as they are that a terminal would obey. */
export function jsonText(value: unknown): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what this looks for
  return JSON.stringify(value).replaceAll(/[\u007f-\u009f]/g, (character) => {
    return `\\u00${character.charCodeAt(0).toString(16)}`;
  });
}

/**
 * Text on one line that a terminal shows and does not obey: control characters stand as `\x1b`, line feeds as `\n`, and what is
 * no character as its byte.
 */
export function lineForTerminal(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what this looks for
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\ud800-\udfff\u2028\u2029]/gu, (character) => {
    const code = character.charCodeAt(0);
    if (character === "\n") return "\\n";
    if (character === "\t") return "\\t";
    const isByte = code <= 0xff || (code >= 0xdc80 && code <= 0xdcff);
    return isByte ? `\\x${(code & 0xff).toString(16).padStart(2, "0")}` : `\\u${code.toString(16)}`;
  });
}

/** The same for text of several lines. */
function linesForTerminal(text: string): string {
  return text.split("\n").map(lineForTerminal).join("\n");
}

/** A remark for the person at the terminal: standard error, never part of the result. */
export function remark(text: string): void {
  process.stderr.write(`${text}\n`);
}

export function bold(text: string): string {
  return styleText("bold", text, { stream: process.stdout });
}

export function dim(text: string): string {
  return styleText("dim", text, { stream: process.stdout });
}

/** Rows as aligned columns; a column of numbers is given as strings already. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)));
  }
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** A count of bytes for people: `999 B`, `1.2 MB` (powers of 1000, as disks are sold and rates are quoted). */
export function bytesText(size: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = size;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1_000;
    unit++;
  }
  return `${unit === 0 || value >= 99.5 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

export function countText(count: number): string {
  return count.toLocaleString("en-US");
}

export function durationText(ms: number): string {
  if (ms < 1_000) return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
  const seconds = ms / 1_000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `1 key`, `1,234 keys`. */
export function plural(count: number, noun: string): string {
  return `${countText(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** Keys and values may be any bytes: text where it is text, else `base64:…`, so that nothing garbles a terminal. */
export function bytesForPeople(bytes: Uint8Array): string {
  const text = textOf(bytes);
  return text ?? `base64:${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64")}`;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The bytes as text, or undefined when they are not UTF-8 or hold control characters that a terminal would obey. */
export function textOf(bytes: Uint8Array): string | undefined {
  try {
    const text = decoder.decode(bytes);
    // oxlint-disable-next-line no-control-regex -- control characters are what this looks for
    return /[\u0000-\u0008\u000b-\u001f\u007f]/.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}

/** The text on one line, so that a list has a line a record and a column a field. */
export function lineForPeople(bytes: Uint8Array): string {
  return bytesForPeople(bytes).replaceAll("\n", "\\n").replaceAll("\t", "\\t");
}

/** Prints a failure and gives the exit status for it. */
export function fail(error: unknown, options: OutputOptions): number {
  if (error instanceof UsageError) return failUsage(error.message, options);
  const message = error instanceof Error ? error.message : String(error);
  const known = error instanceof HoldfastError;
  const maybe = known && error.maybe;
  if (options.json) {
    process.stderr.write(`${jsonText({ error: { code: known ? error.code : "internal", message, maybe } })}\n`);
    return 1;
  }
  // A name in the message, which may come from anybody, is not to look like a line of its own.
  printError(`${known ? lineForTerminal(message) : message}${maybe ? " (the change may have taken effect)" : ""}`);
  // A bug: the place helps whoever reads the report.
  if (!known && error instanceof Error) process.stderr.write(`${linesForTerminal(error.stack ?? "")}\n`);
  return 1;
}

/** Says that the command was typed wrongly, and gives the exit status for it. */
export function failUsage(message: string, options: OutputOptions, help?: string): number {
  if (options.json) {
    process.stderr.write(`${jsonText({ error: { code: "usage", message, maybe: false } })}\n`);
  } else {
    printError(message);
    if (help !== undefined) process.stderr.write(`See \`${help}\`.\n`);
  }
  return 2;
}

function printError(message: string): void {
  process.stderr.write(`${styleText("red", "error", { stream: process.stderr })}: ${linesForTerminal(message)}\n`);
}
