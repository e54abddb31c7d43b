/** Keys and values of maps, sets and registers, as a person types and reads them. */
import { jsonText, lineForTerminal, UsageError } from "./output.ts";
import type { TargetOptions } from "./target.ts";

/** Keys are numbers with `--number`, else text. */
export interface KeyOptions extends TargetOptions {
  readonly number?: boolean;
}

export const numberHelp = "the key is a number";

export function keyOf(text: string, { number }: KeyOptions): string | number {
  if (number !== true) return text;
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new UsageError(`${JSON.stringify(text)} is no number`);
}

/** JSON if it is, else the text itself. */
export function valueOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** Bytes as base64. */
export function shown(value: unknown): unknown {
  return value instanceof Uint8Array ? `base64:${Buffer.from(value).toString("base64")}` : (value ?? null);
}

export function valueText(value: unknown): string {
  return typeof value === "string" ? lineForTerminal(value) : jsonText(shown(value));
}
