/**
 * What sealing must keep on every engine: a part of the conformance suite. An engine is sealed through the chain, by a
 * record that names its successor; here the successors are logs in memory.
 */
import assert from "node:assert/strict";
import { it } from "node:test";
import { HoldfastError, position, utf8Decode, utf8Encode } from "../base/index.ts";
import { Chain } from "./chain.ts";
import type { LogFixture } from "./fixture.suite.ts";
import type { LogEngine } from "./engine.ts";
import { MemoryEngine } from "./memory-engine.ts";
import { successorRecord } from "./successor.ts";

const record = (text: string): Uint8Array => utf8Encode(text);
const memory = (name: string) => ({ kind: "memory", parameters: utf8Encode(name) });

/** Chains on one engine, as several members have them; their successors are one and the same too. */
class Chains {
  readonly #engine: LogEngine;
  readonly #successors = new Map<string, MemoryEngine>();
  readonly #chains: Chain[] = [];

  constructor(engine: LogEngine) {
    this.#engine = engine;
  }

  /** `count` chains where others may append to the engine; else the same one again. */
  make(count: number): Chain[] {
    const shared = this.#engine.capabilities.shared === true;
    return Array.from({ length: count }, (_, index) => {
      const [same] = this.#chains;
      if (index > 0 && !shared && same !== undefined) return same;
      const chain = new Chain(this.#engine, { openEngine: async ({ parameters }) => this.successor(parameters) });
      this.#chains.push(chain);
      return chain;
    });
  }

  successor(parameters: Uint8Array): MemoryEngine {
    const name = utf8Decode(parameters);
    const known = this.#successors.get(name) ?? new MemoryEngine({ shared: true });
    this.#successors.set(name, known);
    return known;
  }

  async close(): Promise<void> {
    for (const chain of this.#chains) await chain.close();
  }
}

async function readTo(engine: LogEngine, from: number, end: number): Promise<string[]> {
  const texts: string[] = [];
  if (from >= end) return texts;
  for await (const batch of engine.read(position(from))) {
    assert.equal(batch.position, from + texts.length, "positions are dense over the seal");
    texts.push(...batch.records.map(utf8Decode));
    if (texts.length >= end - from) break;
  }
  return texts;
}

/** Appends `count` records one by one, not waiting; gives their positions. */
function appendAll(chain: Chain, name: string, count: number): Promise<Map<string, number>>[] {
  return Array.from({ length: count }, async (_, index) => {
    const text = `${name} ${index}`;
    const outcome = await chain.append([record(text)]);
    assert.ok(outcome.ok);
    return new Map([[text, outcome.position as number]]);
  });
}

async function checkAll(chain: Chain, appends: readonly Promise<Map<string, number>>[]): Promise<void> {
  const places = new Map((await Promise.all(appends)).flatMap((one) => [...one]));
  const texts = await readTo(chain, 0, places.size);
  assert.equal(await chain.tail(), places.size, "nothing is doubled");
  for (const [text, place] of places) assert.equal(texts[place], text);
}

export function sealingConformance(make: () => Promise<LogFixture>): void {
  const test = (title: string, body: (engine: LogEngine, chains: Chains) => Promise<void>) =>
    it(title, async () => {
      const fixture = await make();
      const chains = new Chains(fixture.engine);
      try {
        if (fixture.isChain !== true) await fixture.run(body(fixture.engine, chains));
      } finally {
        await fixture.run(chains.close());
        await fixture.run(fixture.engine.close());
        await fixture.cleanUp();
      }
    });

  test("is sealed while it is appended to, and nothing is lost or doubled", async (_, chains) => {
    const [chain, other] = chains.make(2) as [Chain, Chain];
    const appends = [...appendAll(chain, "before", 40), ...appendAll(other, "before, elsewhere", 40)];
    const moving = chain.moveTo(memory("next"));
    appends.push(...appendAll(chain, "after", 40), ...appendAll(other, "after, elsewhere", 40));
    await moving;
    await checkAll(chain, appends);
    assert.deepEqual(await readTo(other, 0, 160), await readTo(chain, 0, 160));
    assert.equal(other.committed(), 160);
  });

  test("is sealed once, whoever tries at the same time", async (_, chains) => {
    const [chain, other] = chains.make(2) as [Chain, Chain];
    await chain.append([record("a")]);
    const moves = await Promise.allSettled([chain.moveTo(memory("one")), other.moveTo(memory("two"))]);
    const failures = moves.flatMap((move) => (move.status === "rejected" ? [move.reason as unknown] : []));
    assert.equal(failures.length, 1, "one of them has sealed it");
    assert.ok(failures[0] instanceof HoldfastError && failures[0].code === "conflict");
    const appends = [...appendAll(chain, "here", 5), ...appendAll(other, "there", 5)];
    await Promise.all(appends);
    assert.equal(await chain.tail(), 11);
    assert.deepEqual(await readTo(chain, 0, 11), await readTo(other, 0, 11));
  });

  test("is sealed when it is empty", async (engine, chains) => {
    const [chain] = chains.make(1) as [Chain];
    const moved = await chain.moveTo(memory("next"));
    assert.equal(moved.position, 0);
    assert.equal(await chain.tail(), 0);
    assert.equal(chain.committed(), 0);
    assert.deepEqual(await chain.append([record("a")]), { ok: true, position: 0 });
    assert.equal(await engine.tail(), 1, "there is the record that names the successor, and no other");
    assert.deepEqual(await readTo(chain, 0, 1), ["a"]);
  });

  test("is trimmed and read across its seal", async (_, chains) => {
    const [chain] = chains.make(1) as [Chain];
    for (let index = 0; index < 20; index++) await chain.append([record(`a ${index}`)]);
    const slow = chain.read(position(0));
    await slow.next();
    await chain.moveTo(memory("next"));
    for (let index = 20; index < 40; index++) await chain.append([record(`a ${index}`)]);
    assert.deepEqual(
      await readTo(chain, 10, 40),
      Array.from({ length: 30 }, (_, index) => `a ${index + 10}`),
    );
    const start = await chain.trim(position(19));
    assert.ok(start <= 19, "what is in front of the seal is still wanted");
    const later = await chain.trim(position(30));
    assert.ok(later >= 20 && later <= 30, `the first engine is gone, the log begins at ${later}`);
    assert.equal(chain.start(), later);
    assert.deepEqual((await readTo(chain, later, 40))[0], `a ${later}`);
    await assert.rejects(readTo(chain, later - 1, 40), { code: "trimmed" });
    // It is told so, or has had the rest before.
    await assert.rejects(
      async () => {
        for (let seen = 0; seen < 20;) {
          const { done, value } = await slow.next();
          if (done === true) throw new Error("it ended without an error");
          seen = value.position + value.records.length;
        }
        throw new HoldfastError("trimmed", "it was faster");
      },
      { code: "trimmed" },
    );
    await slow.return();
  });

  test("takes no append behind its seal for one of the log", async (engine, chains) => {
    const [chain, late] = chains.make(2) as [Chain, Chain];
    await chain.append([record("a")]);
    await chain.moveTo(memory("next"));
    if (engine.capabilities.shared !== true) return;
    // Of somebody who knew nothing of it.
    await engine.append([record("void"), successorRecord(memory("another"))]);
    assert.equal(chain.committed(), 1);
    assert.deepEqual(await late.append([record("b")]), { ok: true, position: 1 });
    assert.equal(await chain.tail(), 2);
    assert.deepEqual(await readTo(late, 0, 2), ["a", "b"]);
  });
}
