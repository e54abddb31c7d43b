/**
 * Refuses clocks, chance, timers, the network and files to code that must be deterministic: while it runs, what gives
 * them is replaced by functions that note the call and throw. Everything is as before when `watch` returns.
 *
 * Functions of modules that the code took hold of under another name before are not seen; the comparison of two runs
 * finds most of what comes of these.
 */
import childProcess from "node:child_process";
import crypto from "node:crypto";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import type { Determinism } from "../base/index.ts";

type Holder = Record<string, unknown>;

/** What is refused, by the holder's name as a message says it. */
const refused: readonly (readonly [string, object, readonly string[]])[] = [
  ["Math.", Math, ["random"]],
  ["performance.", performance, ["now"]],
  ["crypto.", globalThis.crypto, ["getRandomValues", "randomUUID"]],
  ["process.", process, ["hrtime", "nextTick", "uptime", "cpuUsage", "memoryUsage"]],
  ["", globalThis, ["fetch", "setTimeout", "setInterval", "setImmediate", "queueMicrotask"]],
];
/** Of modules of Node.js: what a program reads or writes with at once. */
const refusedOfModules: typeof refused = [
  [
    "fs.",
    fs,
    [
      "readFileSync",
      "writeFileSync",
      "appendFileSync",
      "readdirSync",
      "statSync",
      "existsSync",
      "openSync",
      "readFile",
      "writeFile",
    ],
  ],
  ["crypto.", crypto, ["randomBytes", "randomInt", "randomUUID", "randomFillSync"]],
  ["child_process.", childProcess, ["execSync", "execFileSync", "spawnSync", "spawn", "exec"]],
];

export class NodeDeterminism implements Determinism {
  #running = false;

  watch(run: () => void): string | undefined {
    // A command that plays commands of other objects is watched already.
    if (this.#running) {
      run();
      return undefined;
    }
    this.#running = true;
    let called: string | undefined;
    const note = (what: string): never => {
      called ??= what;
      throw new Error(`${what} is refused to code that must be deterministic`);
    };
    const undo: (() => void)[] = [];
    try {
      for (const [prefix, holder, names] of [...refused, ...refusedOfModules])
        for (const name of names) undo.push(replace(holder as Holder, name, () => note(`${prefix}${name}()`)));
      undo.push(replace(globalThis, "Date", refusingDate(note)));
      syncBuiltinESMExports();
      run();
    } finally {
      for (const one of undo.toReversed()) one();
      syncBuiltinESMExports();
      this.#running = false;
    }
    return called;
  }
}

/** Dates of a given time stay; only the present is refused. */
function refusingDate(note: (what: string) => never): DateConstructor {
  return new Proxy(Date, {
    apply: () => note("Date()"),
    construct: (target, rest: unknown[], own) =>
      rest.length === 0 ? note("new Date()") : (Reflect.construct(target, rest, own) as Date),
    get: (target, name, receiver) =>
      name === "now" ? () => note("Date.now()") : (Reflect.get(target, name, receiver) as unknown),
  });
}

function replace(holder: Holder, name: string, value: unknown): () => void {
  const own = Object.getOwnPropertyDescriptor(holder, name);
  Object.defineProperty(holder, name, {
    value,
    configurable: true,
    writable: true,
    enumerable: own?.enumerable ?? true,
  });
  return () => {
    if (own === undefined) Reflect.deleteProperty(holder, name);
    else Object.defineProperty(holder, name, own);
  };
}
