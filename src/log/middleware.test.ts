/** The example of docs/log.md, as it is written there: it is an engine by the conformance suite. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, it } from "node:test";
import { pathToFileURL } from "node:url";
import { logConformance } from "./conformance.suite.ts";
import { MemoryEngine } from "./index.ts";
import type { LogEngine } from "./index.ts";

interface Traced extends LogEngine {
  readonly counts: { readonly appends: number; readonly records: number };
}
interface Example {
  readonly TracedEngine: new (inner: LogEngine, nowMs: () => number) => Traced;
}

const directory = mkdtempSync(join(tmpdir(), "holdfast-docs-"));
after(() => rmSync(directory, { recursive: true }));
const text = readFileSync(new URL("../../docs/log.md", import.meta.url), "utf8");
const code = /<!-- tested by src\/log\/middleware\.test\.ts -->\s+```ts\n([\s\S]*?)```/.exec(text)?.[1];
assert.ok(code !== undefined, "docs/log.md shows the example");
writeFileSync(join(directory, "traced-engine.ts"), code);
const { TracedEngine } = (await import(pathToFileURL(join(directory, "traced-engine.ts")).href)) as Example;
const run = <T>(promise: Promise<T>): Promise<T> => promise;

logConformance("a middleware", async () => {
  const engine = new TracedEngine(new MemoryEngine(), () => performance.now());
  return { engine, run, cleanUp: async () => {} };
});

it("counts what passes through the middleware", async () => {
  const engine = new TracedEngine(new MemoryEngine(), () => performance.now());
  await engine.append([new Uint8Array(1), new Uint8Array(1)]);
  assert.equal(engine.counts.appends, 1);
  assert.equal(engine.counts.records, 2);
});
