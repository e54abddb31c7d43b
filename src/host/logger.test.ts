/** Log lines: their two formats, their levels, and values of every kind, none of which may make logging fail. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ConsoleLogger } from "./index.ts";
import type { ConsoleLoggerOptions } from "./index.ts";

function lines(options: ConsoleLoggerOptions, log: (logger: ConsoleLogger) => void): string[] {
  const written: string[] = [];
  log(new ConsoleLogger({ ...options, stream: { write: (text) => written.push(text) } }));
  return written;
}

test("one JSON object a line where nobody watches", () => {
  const circular: { self?: unknown } = {};
  circular.self = circular;
  const [line = ""] = lines({}, (logger) =>
    logger.log("warn", "disk is slow", {
      tookMs: 812,
      size: 5n,
      hash: Uint8Array.of(1, 255),
      circular,
      nothing: undefined,
    }),
  );
  const { time, ...rest } = JSON.parse(line) as Record<string, unknown>;
  assert.match(String(time), /^\d{4}-\d\d-\d\dT/);
  assert.deepEqual(
    { ...rest, circular: undefined },
    {
      level: "warn",
      message: "disk is slow",
      tookMs: 812,
      size: "5",
      hash: "01ff",
      circular: undefined,
    },
  );
  assert.ok(line.endsWith("}\n"));
});

test("words for people, errors with their stack", () => {
  const [line = ""] = lines({ format: "human" }, (logger) =>
    logger.log("info", "started", { path: "journal/7", note: "two words", error: new Error("broken") }),
  );
  assert.match(
    line,
    /^\d\d:\d\d:\d\d\.\d{3} info {2}started {2}path=journal\/7 note="two words" error=Error: broken\n\s+at /,
  );
});

test("levels below the threshold are dropped", () => {
  const all = lines({ level: "warn" }, (logger) => {
    for (const level of ["debug", "info", "warn", "error"] as const) logger.log(level, level);
  });
  assert.equal(all.length, 2);
});
