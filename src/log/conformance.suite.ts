/**
 * What every engine of the log must do, as one suite: call `logConformance` with a way to make your engine. It needs
 * `node:test`, and takes simulated engines too, whose promises only settle while `run` drives their world.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { HoldfastError, position, utf8Decode, utf8Encode } from "../base/index.ts";
import type { LogBatch, LogEngine } from "./engine.ts";
import type { LogFixture } from "./fixture.suite.ts";
import { sealingConformance } from "./sealing.suite.ts";

export type { LogFixture };

const record = (text: string): Uint8Array => utf8Encode(text);

/** Collects `count` records from the log, with their positions checked. */
async function take(engine: LogEngine, from: number, count: number): Promise<string[]> {
  const texts: string[] = [];
  if (count === 0) return texts;
  for await (const batch of engine.read(position(from))) {
    assert.equal(batch.position, from + texts.length, "positions are dense");
    assert.ok(batch.records.length > 0, "a batch is never empty");
    texts.push(...batch.records.map(utf8Decode));
    if (texts.length >= count) break;
  }
  return texts.slice(0, count);
}

export function logConformance(name: string, make: () => Promise<LogFixture>): void {
  const test = (title: string, body: (fixture: LogFixture) => Promise<void>) =>
    it(title, async () => {
      const fixture = await make();
      try {
        await fixture.run(body(fixture));
      } finally {
        await fixture.run(fixture.engine.close());
        await fixture.cleanUp();
      }
    });

  describe(`the log on ${name}`, () => {
    test("begins empty at position 0", async ({ engine }) => {
      assert.equal(engine.start(), 0);
      assert.equal(await engine.tail(), 0);
    });

    test("gives dense positions, and records as neighbours", async ({ engine }) => {
      const first = await engine.append([record("a"), record("b")]);
      const second = await engine.append([record("c")]);
      assert.deepEqual(
        [first, second],
        [
          { ok: true, position: 0 },
          { ok: true, position: 2 },
        ],
      );
      assert.equal(await engine.tail(), 3);
      assert.deepEqual(await take(engine, 0, 3), ["a", "b", "c"]);
      assert.deepEqual(await take(engine, 1, 2), ["b", "c"]);
    });

    test("acknowledges pipelined appends in the order of their positions", async ({ engine }) => {
      const acknowledged: number[] = [];
      const appends = Array.from({ length: 200 }, async (_, index) => {
        const outcome = await engine.append([record(`${index}/0`), record(`${index}/1`)]);
        assert.ok(outcome.ok);
        acknowledged.push(outcome.position);
        return outcome.position;
      });
      const positions = await Promise.all(appends);
      assert.deepEqual(
        positions,
        Array.from(positions.keys(), (index) => 2 * index),
      );
      assert.deepEqual(acknowledged, positions);
      const texts = await take(engine, 0, 400);
      assert.deepEqual(
        texts,
        positions.flatMap((_, index) => [`${index}/0`, `${index}/1`]),
      );
    });

    test("keeps empty records and large ones", async ({ engine }) => {
      const large = new Uint8Array(3_000_000).map((_, index) => 1 + index * 7 + (index >> 8));
      await engine.append([new Uint8Array(0), large, new Uint8Array(0)]);
      const sizes: number[] = [];
      for await (const batch of engine.read(position(0))) {
        for (const bytes of batch.records) {
          sizes.push(bytes.length);
          if (bytes.length > 0) assert.deepEqual(bytes, large);
        }
        if (sizes.length >= 3) break;
      }
      assert.deepEqual(sizes, [0, 3_000_000, 0]);
    });

    test("lets readers follow live, each at its own pace", async ({ engine }) => {
      const fast = take(engine, 0, 50);
      const late = take(engine, 20, 30);
      for (let index = 0; index < 50; index++) await engine.append([record(String(index))]);
      assert.deepEqual(
        await fast,
        Array.from({ length: 50 }, (_, index) => String(index)),
      );
      assert.deepEqual(
        await late,
        Array.from({ length: 30 }, (_, index) => String(index + 20)),
      );
    });

    test("shows a reader nothing before it is in the log, and ends it when its signal aborts", async ({ engine }) => {
      const abort = new AbortController();
      const seen: LogBatch[] = [];
      const reading = (async () => {
        for await (const batch of engine.read(position(0), { signal: abort.signal })) seen.push(batch);
      })();
      await engine.append([record("a")]);
      await take(engine, 0, 1);
      abort.abort();
      await reading;
      assert.ok(seen.length <= 1);
    });

    test("ends readers when it closes, and refuses appends after", async ({ engine }) => {
      await engine.append([record("a")]);
      const reading = (async () => {
        for await (const batch of engine.read(position(1))) assert.fail(`nothing was appended, got ${batch.position}`);
      })();
      await engine.close();
      await reading;
      await assert.rejects(engine.append([record("b")]), (error: unknown) => {
        return error instanceof HoldfastError && error.code === "unavailable" && !error.maybe;
      });
      await engine.close();
    });

    test("finishes the appends under way before it closes", async ({ engine }) => {
      const appends = Promise.all([engine.append([record("a")]), engine.append([record("b")])]);
      // The other members may have the last word, and then nobody knows what it is.
      const unknown = (error: unknown): null => {
        const stopped = error instanceof HoldfastError && error.code === "unavailable";
        if (!stopped || engine.capabilities.durability !== "quorum") throw error;
        return null;
      };
      const answered = appends.catch(unknown);
      await engine.close();
      const outcomes = await answered;
      if (outcomes === null) return;
      assert.deepEqual(outcomes, [
        { ok: true, position: 0 },
        { ok: true, position: 1 },
      ]);
    });

    test("knows without asking what is in the log for good, and never less than a reader has seen", async ({
      engine,
    }) => {
      assert.equal(engine.committed(), 0);
      let before = 0;
      for (let count = 1; count <= 40; count += 3) {
        await engine.append([record("a"), record("b"), record("c")]);
        await take(engine, 0, count + 2);
        const committed = engine.committed();
        assert.ok(committed >= count + 2, `${committed} after ${count + 2} were read`);
        assert.ok(committed >= before && committed <= (await engine.tail()), "it never goes back, nor past the tail");
        before = committed;
      }
    });

    test("lets a reader wait for a position that it has not reached", async ({ engine }) => {
      const ahead = take(engine, 4, 3);
      const further = take(engine, 9, 1);
      await engine.append([record("0"), record("1"), record("2"), record("3")]);
      await engine.append([record("4")]);
      // The one that waits for 9 begins in the middle of an append.
      await engine.append(["5", "6", "7", "8", "9", "10"].map(record));
      assert.deepEqual(await ahead, ["4", "5", "6"]);
      assert.deepEqual(await further, ["9"]);
    });

    test("ends a reader that waits ahead of the log when its signal aborts, and when it closes", async ({ engine }) => {
      const abort = new AbortController();
      const read = async (signal?: AbortSignal) => {
        const options = signal === undefined ? {} : { signal };
        for await (const batch of engine.read(position(1_000), options)) assert.fail(`got ${batch.position}`);
      };
      const aborted = read(abort.signal);
      const closed = read();
      await engine.append([record("a")]);
      abort.abort();
      await aborted;
      await engine.close();
      await closed;
    });

    test("says who does the chores; one member alone always does", async ({ engine }) => {
      const heard: boolean[] = [];
      const unlisten = engine.onPrimary((isPrimary) => heard.push(isPrimary));
      await engine.append([record("a")]);
      assert.equal(typeof engine.isPrimary, "boolean");
      if (engine.capabilities.shared !== true) {
        assert.ok(engine.isPrimary);
        assert.deepEqual(heard, []);
      }
      unlisten();
      unlisten();
    });

    test("trims no further than asked, and says what is gone", async ({ engine }) => {
      const body = "x".repeat(500);
      for (let index = 0; index < 100; index++) await engine.append([record(`${index} ${body}`)]);
      const start = await engine.trim(position(60));
      assert.ok(start <= 60, `trimmed to ${start}`);
      assert.equal(engine.start(), start);
      if (engine.capabilities.trim) assert.ok(start > 0, "something was trimmed");
      const texts = await take(engine, start, 100 - start);
      assert.equal(texts[0], `${start} ${body}`);
      assert.equal(texts.length, 100 - start);
      if (start > 0) {
        await assert.rejects(take(engine, start - 1, 1), (error: unknown) => {
          return error instanceof HoldfastError && error.code === "trimmed" && error.message.includes(String(start));
        });
      }
      assert.deepEqual(await engine.append([record("next")]), { ok: true, position: 100 });
      assert.equal(await engine.trim(position(0)), start, "a trim never goes back");
    });

    test("keeps everything over a restart", async ({ engine, reopen }) => {
      if (reopen === undefined) return;
      for (let index = 0; index < 30; index++) await engine.append([record(`${index} ${"y".repeat(200)}`)]);
      const start = await engine.trim(position(10));
      const again = await reopen();
      assert.equal(again.start(), start);
      assert.equal(await again.tail(), 30);
      assert.equal((await take(again, start, 30 - start)).length, 30 - start);
      assert.deepEqual(await again.append([record("more")]), { ok: true, position: 30 });
      assert.deepEqual(await take(again, 30, 1), ["more"]);
    });

    test("refuses every append once it is sealed", async ({ engine, seal }) => {
      if (seal === undefined) return;
      await engine.append([record("a")]);
      seal();
      assert.deepEqual(await engine.append([record("b")]), { ok: false, reason: "sealed" });
      assert.deepEqual(await engine.append([record("c")]), { ok: false, reason: "sealed" });
      assert.equal(await engine.tail(), 1);
    });

    sealingConformance(make);
  });
}
