import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { HoldfastError, position, utf8Decode, utf8Encode } from "../base/index.ts";
import { nextTurn, nodeEnv } from "../host/index.ts";
import { Simulator } from "../sim/index.ts";
import { logConformance } from "./conformance.suite.ts";
import { Chain, FileEngine, MemoryEngine, successorRecord } from "./index.ts";
import type { LogEngine } from "./index.ts";

const small = { segmentSizeMin: 4_096, segmentSizeMax: 16_384 };
const direct = <T>(promise: Promise<T>): Promise<T> => promise;

logConformance("memory", async () => {
  const engine = new MemoryEngine();
  return { engine, seal: () => engine.seal(), run: direct, cleanUp: async () => {} };
});

logConformance("memory that others append to", async () => {
  const engine = new MemoryEngine({ shared: true });
  return { engine, seal: () => engine.seal(), run: direct, cleanUp: async () => {} };
});

logConformance("files", async () => {
  const directory = await mkdtemp(join(tmpdir(), "holdfast-log-"));
  const env = nodeEnv({ directory });
  const engine = await FileEngine.open(env, "log", small);
  const reopen = async () => {
    await engine.close();
    return FileEngine.open(env, "log", small);
  };
  return { engine, reopen, run: direct, cleanUp: () => rm(directory, { recursive: true }) };
});

for (const seed of [1, 2, 3]) {
  logConformance(`simulated files, seed ${seed}`, async () => {
    const simulator = new Simulator({ seed, drain: nextTurn });
    const machine = simulator.machine("a");
    const engine = await simulator.run(FileEngine.open(machine.env, "log", small));
    const reopen = async () => {
      await engine.close();
      return FileEngine.open(machine.env, "log", small);
    };
    return { engine, reopen, run: (promise) => simulator.run(promise), cleanUp: async () => {} };
  });
}

logConformance("a chain", async () => ({
  engine: new Chain(new MemoryEngine()),
  isChain: true,
  run: direct,
  cleanUp: async () => {},
}));

logConformance("a chain that has moved", async () => {
  const chain = new Chain(new MemoryEngine(), { openEngine: async () => new MemoryEngine() });
  await chain.moveTo({ kind: "memory", parameters: new Uint8Array(0) });
  return { engine: chain, isChain: true, run: direct, cleanUp: async () => {} };
});

async function readAll(engine: LogEngine, from: number, count: number): Promise<string[]> {
  const texts: string[] = [];
  for await (const batch of engine.read(position(from))) {
    assert.equal(batch.position, from + texts.length);
    texts.push(...batch.records.map(utf8Decode));
    if (texts.length >= count) return texts;
  }
  return texts;
}

it("moves a chain while it is written, losing and doubling nothing", async () => {
  const engines: MemoryEngine[] = [];
  const chain = new Chain(new MemoryEngine(), {
    openEngine: async ({ kind }) => {
      assert.equal(kind, "memory");
      const engine = new MemoryEngine();
      engines.push(engine);
      return engine;
    },
  });
  const appends: Promise<number>[] = [];
  const reading = readAll(chain, 0, 300);
  for (let index = 0; index < 300; index++) {
    appends.push(
      chain.append([utf8Encode(String(index))]).then((outcome) => {
        assert.ok(outcome.ok);
        return outcome.position;
      }),
    );
    if (index % 100 === 50) await chain.moveTo({ kind: "memory", parameters: new Uint8Array(0) });
  }
  const positions = await Promise.all(appends);
  const texts = await reading;
  assert.equal(engines.length, 3);
  assert.deepEqual(
    positions.toSorted((a, b) => a - b),
    Array.from(positions.keys()),
  );
  positions.forEach((place, index) => assert.equal(texts[place], String(index)));
  assert.equal(await chain.tail(), 300);
  assert.deepEqual(await readAll(chain, 120, 180), texts.slice(120));
  await chain.trim(position(200));
  assert.equal(chain.start(), 200);
});

/** A log in memory that may lose and win its chores. */
class Changing extends MemoryEngine {
  override isPrimary = true;
  readonly listeners = new Set<(isPrimary: boolean) => void>();

  override onPrimary(listener: (isPrimary: boolean) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  set(isPrimary: boolean): void {
    this.isPrimary = isPrimary;
    for (const listener of this.listeners) listener(isPrimary);
  }
}

it("tells who listens to a chain about its last engine, also when that is another than before", async () => {
  const [first, second, third] = [new Changing(), new Changing(), new Changing()] as const;
  const next = [second, third];
  const chain = new Chain(first, { openEngine: async () => next.shift() as Changing });
  const heard: boolean[] = [];
  const unlisten = chain.onPrimary((isPrimary) => heard.push(isPrimary));
  first.set(false);
  assert.equal(chain.isPrimary, false);
  await chain.moveTo({ kind: "memory", parameters: new Uint8Array(0) });
  assert.deepEqual(heard, [false, true], "the second is primary");
  first.set(true);
  second.set(true);
  assert.equal(first.listeners.size, 0);
  third.set(false);
  await chain.moveTo({ kind: "memory", parameters: new Uint8Array(0) });
  assert.deepEqual(heard, [false, true, false]);
  assert.equal(chain.isPrimary, false);
  unlisten();
  third.set(true);
  assert.deepEqual(heard, [false, true, false]);
  await chain.close();
  assert.equal(third.listeners.size, 0);
});

it("goes on in the successor for a reader that waits ahead of the log, whose position is the chain's", async () => {
  const first = new MemoryEngine();
  const chain = new Chain(first, { openEngine: async () => new MemoryEngine() });
  await chain.append(["0", "1"].map(utf8Encode));
  const reading = (async () => {
    for await (const batch of chain.read(position(5))) return [batch.position, ...batch.records.map(utf8Decode)];
    return [];
  })();
  await chain.moveTo({ kind: "memory", parameters: new Uint8Array(0) });
  assert.equal(chain.committed(), 2, "the record that names the successor has no position");
  // Void: it fell behind the end of its engine.
  await first.append([utf8Encode("void")]);
  assert.equal(chain.committed(), 2);
  await chain.append(["2", "3", "4", "5", "6"].map(utf8Encode));
  assert.deepEqual(await reading, [5, "5", "6"]);
  assert.equal(chain.committed(), 7);
});

it("keeps a reader that waits ahead of the log when what it has passed over is trimmed", async () => {
  const engine = new MemoryEngine();
  const chain = new Chain(engine);
  await chain.append(["0", "1", "2"].map(utf8Encode));
  const reading = (async () => {
    for await (const batch of chain.read(position(6))) return [batch.position, ...batch.records.map(utf8Decode)];
    return [];
  })();
  // In one turn, so that the reader learns of it when it is done.
  void engine.append(["3", "4", "5"].map(utf8Encode));
  void engine.trim(position(5));
  await chain.append(["6"].map(utf8Encode));
  assert.deepEqual(await reading, [6, "6"]);
  await assert.rejects(readAll(chain, 4, 1), { code: "trimmed" });
});

function unknown(kind: string): Promise<never> {
  return Promise.reject(new HoldfastError("unavailable", `"${kind}" is not known here`));
}

it("refuses to go on in an engine that it does not know", async () => {
  const chain = new Chain(new MemoryEngine());
  await chain.append([utf8Encode("a")]);
  // oxlint-disable-next-line unicorn/consistent-function-scoping -- belongs to this test alone
  const moved = (error: unknown) =>
    error instanceof HoldfastError && error.code === "unavailable" && /"nats"/.test(error.message);
  await assert.rejects(chain.moveTo({ kind: "nats", parameters: new Uint8Array(0) }), moved);
  assert.deepEqual(await chain.append([utf8Encode("b")]), { ok: true, position: 1 }, "the log goes on where it was");

  // Another version has moved it.
  const engine = new MemoryEngine();
  await engine.append([utf8Encode("a")]);
  await engine.append([successorRecord({ kind: "nats", parameters: new Uint8Array(0) })]);
  const opening = Chain.open(
    { kind: "memory", parameters: new Uint8Array(0) },
    { openEngine: ({ kind }) => (kind === "memory" ? Promise.resolve(engine) : unknown(kind)) },
  );
  await assert.rejects(opening, moved);
});

it("refuses appends when the disk is full, loses nothing and goes on when there is space again", async () => {
  const simulator = new Simulator({ seed: "full", drain: nextTurn });
  const { env, disk } = simulator.machine("a");
  const engine = await simulator.run(FileEngine.open(env, "log", small));
  const record = new Uint8Array(1_000);
  disk.capacity = 40_000;
  let accepted = 0;
  const appendUntilRefused = async () => {
    for (; accepted < 100; accepted++) await engine.append([record]);
  };
  await simulator.run(assert.rejects(appendUntilRefused(), { code: "exhausted", maybe: false }));
  assert.ok(accepted > 3);
  assert.equal(await simulator.run(engine.tail()), accepted);
  disk.capacity = Number.POSITIVE_INFINITY;
  assert.deepEqual(await simulator.run(engine.append([record])), { ok: true, position: accepted });
  await simulator.run(engine.close());
});

it("stops at a failed write and says so to everybody who waits", async () => {
  const simulator = new Simulator({ seed: "failed", drain: nextTurn });
  const { env, disk } = simulator.machine("a");
  const engine = await simulator.run(FileEngine.open(env, "log", small));
  await simulator.run(engine.append([utf8Encode("kept")]));
  disk.hook = ({ kind, phase }) =>
    kind === "write" && phase === "issued" ? new HoldfastError("unavailable", "input/output error") : undefined;
  const first = engine.append([utf8Encode("lost")]);
  await simulator.run(assert.rejects(first, { code: "unavailable", maybe: true }));
  disk.hook = undefined;
  // The disk works again, but nobody knows what the failed write left: no retry.
  await simulator.run(assert.rejects(engine.append([utf8Encode("later")]), { code: "unavailable", maybe: false }));
  await simulator.run(assert.rejects(engine.tail(), { code: "unavailable" }));
  await simulator.run(engine.close());
});

it("gathers what arrives during a write into the next", async () => {
  const simulator = new Simulator({ seed: "group", drain: nextTurn });
  const { env, disk } = simulator.machine("a");
  const engine = await simulator.run(FileEngine.open(env, "log"));
  let writes = 0;
  disk.hook = ({ kind, path, phase }) => {
    if (kind === "write" && phase === "done" && path.endsWith("1.log")) writes += 1;
  };
  const appends: Promise<unknown>[] = [];
  for (let index = 0; index < 10; index++) appends.push(engine.append([utf8Encode("early")]));
  await simulator.advance(0.05);
  for (let index = 0; index < 500; index++) appends.push(engine.append([utf8Encode("during")]));
  await simulator.run(Promise.all(appends));
  assert.equal(writes, 2);
  disk.hook = undefined;
  await simulator.run(engine.close());
});
