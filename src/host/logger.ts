/**
 * Structured log lines on standard error (or another stream): for people on a terminal, one JSON object a line in a pipe.
 *
 *     12:30:01.125 warn  disk is slow  path=journal/7 tookMs=812
 *     {"time":"2026-11-23T12:30:01.125Z","level":"warn","message":"disk is slow","path":"journal/7","tookMs":812}
 */
import { inspect } from "node:util";
import type { Logger } from "../base/index.ts";

export type LogLevel = Parameters<Logger["log"]>[0];

const severity: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };
const colour: Readonly<Record<LogLevel, string>> = { debug: "\x1b[2m", info: "", warn: "\x1b[33m", error: "\x1b[31m" };

export interface ConsoleLoggerOptions {
  /** Lines below this level are dropped. Default `info`. */
  readonly level?: LogLevel;
  /** Default: `human` if the stream is a terminal, else `json`. */
  readonly format?: "human" | "json";
  /** Where lines go. Default standard error. */
  readonly stream?: { write(text: string): unknown; readonly isTTY?: boolean };
}

export class ConsoleLogger implements Logger {
  readonly #threshold: number;
  readonly #human: boolean;
  readonly #colour: boolean;
  readonly #stream: { write(text: string): unknown };

  constructor(options: ConsoleLoggerOptions = {}) {
    const stream = options.stream ?? process.stderr;
    const terminal = stream.isTTY === true;
    this.#threshold = severity[options.level ?? "info"];
    this.#human = (options.format ?? (terminal ? "human" : "json")) === "human";
    this.#colour = terminal && process.env["NO_COLOR"] === undefined;
    this.#stream = stream;
  }

  log(level: LogLevel, message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    if (severity[level] < this.#threshold) return;
    this.#stream.write(`${this.#human ? this.#humanLine(level, message, fields) : jsonLine(level, message, fields)}\n`);
  }

  #humanLine(level: LogLevel, message: string, fields: Readonly<Record<string, unknown>>): string {
    const [tint, plain] = this.#colour && colour[level] !== "" ? [colour[level], "\x1b[0m"] : ["", ""];
    const time = new Date().toISOString().slice(11, 23);
    const rest = Object.entries(fields).map(([name, value]) => ` ${name}=${humanValue(value)}`);
    return `${time} ${tint}${level.padEnd(5)} ${message}${plain}${rest.length === 0 ? "" : ` ${rest.join("")}`}`;
  }
}

/** The logger of a library that nobody asked to speak. */
export const silentLogger: Logger = { log() {} };

function jsonLine(level: LogLevel, message: string, fields: Readonly<Record<string, unknown>>): string {
  const values = Object.entries(fields).map(([name, value]) => [name, jsonValue(value)]);
  return JSON.stringify({ time: new Date().toISOString(), level, message, ...Object.fromEntries(values) });
}

/** A value as JSON can hold it; never throws, since a log line must not. */
function jsonValue(value: unknown): unknown {
  if (value instanceof Error) return value.stack ?? String(value);
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (typeof value !== "object" || value === null) return value;
  try {
    JSON.stringify(value);
    return value;
  } catch {
    return inspect(value);
  }
}

function humanValue(value: unknown): string {
  if (value instanceof Error) return inspect(value);
  if (typeof value === "string") return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
  return inspect(jsonValue(value), { breakLength: Infinity });
}
