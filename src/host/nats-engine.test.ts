/** The log on NATS JetStream, on real servers. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { HoldfastError, position, sleep, utf8Decode, utf8Encode } from "../base/index.ts";
import { logConformance } from "../log/conformance.suite.ts";
import type { AppendOutcome, LogEngine } from "../log/index.ts";
import { parseNatsAddress } from "./nats-address.ts";
import { nodeEnv } from "./env.ts";
import { NatsEngine } from "./nats-engine.ts";
import { NatsServers } from "./nats-servers.suite.ts";

const env = nodeEnv({ directory: "." });
const direct = <T>(promise: Promise<T>): Promise<T> => promise;
let count = 0;

it("reads addresses, and says what is wrong with others", () => {
  assert.deepEqual(parseNatsAddress("nats://a,b:99/ORDERS?replicas=3&sync=always"), {
    servers: ["a:4222", "b:99"],
    stream: "ORDERS",
    replicas: 3,
    isSynced: true,
  });
  for (const text of [
    "nats://a",
    "nats:///S",
    "nats://a/S.T",
    "nats://a/S?replicas=9",
    "nats://a/S?x=1",
    "http://a/S",
  ]) {
    assert.throws(() => parseNatsAddress(text), { code: "invalid" }, text);
  }
});

// All at the same time, each on servers of its own: most of the last is the pause in which NATS elects another leader, 4 to
// 9 s by its choice.
describe("on servers", { concurrency: 3 }, () => {
  describe("on one server", { concurrency: 1 }, () => {
    let servers: NatsServers;
    before(async () => {
      servers = await NatsServers.start(1);
    });
    after(() => servers.stop());

    for (const alone of [true, false]) {
      logConformance(alone ? "NATS, for a store on its own" : "NATS, one member of several", async () => {
        const address = servers.address(`S${++count}`);
        const engine = await NatsEngine.open(env, address, { alone, fresh: true });
        let again: NatsEngine | undefined;
        const reopen = async () => {
          await engine.close();
          again = await NatsEngine.open(env, address, { alone });
          return again;
        };
        return { engine, reopen, run: direct, cleanUp: async () => again?.close() };
      });
    }

    it("is one log for several members, in one order, with one primary", async () => {
      const address = servers.address(`S${++count}`);
      const engines = [await NatsEngine.open(env, address), await NatsEngine.open(env, address)] as const;
      const appends = Array.from({ length: 100 }, async (_, index) => {
        const outcome = await (engines[index % 2] as NatsEngine).append([
          utf8Encode(`${index}`),
          utf8Encode("neighbour"),
        ]);
        assert.ok(outcome.ok);
        return outcome.position;
      });
      const positions = await Promise.all(appends);
      const [texts, others] = [await take(engines[0], 0, 200), await take(engines[1], 0, 200)];
      assert.deepEqual(texts, others);
      for (const [index, place] of positions.entries()) {
        assert.deepEqual(texts.slice(place, place + 2), [`${index}`, "neighbour"]);
      }
      assert.equal(await engines[0].tail(), 200);
      while (!engines.some(({ isPrimary }) => isPrimary)) await sleep(env.clock, 10);
      const primary = engines.findIndex(({ isPrimary }) => isPrimary);
      assert.equal(engines.filter(({ isPrimary }) => isPrimary).length, 1);
      const other = engines[primary === 0 ? 1 : 0];
      const won = new Promise<boolean>((resolve) => other.onPrimary(resolve));
      await (engines[primary] as NatsEngine).close();
      assert.equal(await won, true, "what is given up is taken over");
      await other.close();
    });

    it("keeps a record that is larger than a message, also while others append", async () => {
      const address = servers.address(`S${++count}`);
      const [one, two] = [await NatsEngine.open(env, address), await NatsEngine.open(env, address)];
      const large = new Uint8Array(4_000_000).map((_, index) => 1 + (index % 251));
      const small = Array.from({ length: 30 }, (_, index) => two.append([utf8Encode(`${index}`)]));
      const outcome = await one.append([large, utf8Encode("behind")]);
      assert.ok(outcome.ok);
      await Promise.all(small);
      for (const engine of [one, two]) {
        const records: Uint8Array[] = [];
        for await (const batch of engine.read(position(0))) {
          assert.equal(batch.position, records.length);
          records.push(...batch.records);
          if (records.length === 32) break;
        }
        assert.deepEqual(records[outcome.position], large);
        assert.equal(utf8Decode(records[outcome.position + 1] as Uint8Array), "behind");
        await engine.close();
      }
    });

    it("refuses a stream that holds something where a log is to begin, and a server that is not there", async () => {
      const address = servers.address(`S${++count}`);
      const engine = await NatsEngine.open(env, address, { alone: true });
      await engine.append([utf8Encode("a")]);
      await engine.close();
      await assert.rejects(NatsEngine.open(env, address, { fresh: true }), { code: "conflict" });
      await assert.rejects(NatsEngine.open(env, "nats://127.0.0.1:1/S"), { code: "unavailable", maybe: false });
    });
  });

  describe("on one server that is killed", { concurrency: 1 }, () => {
    let servers: NatsServers;
    before(async () => {
      servers = await NatsServers.start(1);
    });
    after(() => servers.stop());

    it("waits for a server that is away, and loses nothing when it was killed", async () => {
      const engine = await NatsEngine.open(env, servers.address(`S${++count}`), { alone: true });
      await engine.append([utf8Encode("0")]);
      await servers.kill(0);
      const waiting = ["1", "2"].map((text) => engine.append([utf8Encode(text)]));
      await servers.startOne(0);
      assert.deepEqual(await Promise.all(waiting), [
        { ok: true, position: 1 },
        { ok: true, position: 2 },
      ]);
      assert.deepEqual(await take(engine, 0, 3), ["0", "1", "2"]);
      const short = await NatsEngine.open(env, servers.address(`S${++count}`), { alone: true, appendMs: 200 });
      await servers.kill(0);
      await assert.rejects(short.append([utf8Encode("lost?")]), (error: unknown) => {
        return error instanceof HoldfastError && error.code === "unavailable" && error.maybe;
      });
      await servers.startOne(0);
      let outcome: AppendOutcome | undefined;
      while (outcome === undefined) outcome = await short.append([utf8Encode("after")]).catch(() => undefined);
      assert.ok(outcome.ok);
      const texts = await take(short, 0, outcome.position + 1);
      assert.equal(texts[outcome.position], "after");
      assert.ok(texts.lastIndexOf("lost?") <= 0, `in order, and not twice: ${texts.join()}`);
      await short.close();
      await engine.close();
    });
  });

  describe("on three servers", { concurrency: 1 }, () => {
    let servers: NatsServers;
    before(async () => {
      servers = await NatsServers.start(3);
    });
    after(() => servers.stop());

    it("loses nothing and keeps the order when the leader is killed and comes back in the middle of appends", async (t) => {
      const address = servers.address("R3");
      const engines = [await openSoon(address), await openSoon(address)] as const;
      assert.equal(engines[0].capabilities.durability, "quorum");
      const acknowledged = new Map<string, number>();
      let [gapMs, lastMs] = [0, env.clock.monotonicMs()];
      const over = new AbortController();
      const writer = async (name: string, engine: NatsEngine) => {
        for (let index = 0; !over.signal.aborted; index++) {
          const text = `${name} ${index}`;
          const outcome = await engine.append([utf8Encode(text)]);
          assert.ok(outcome.ok);
          acknowledged.set(text, outcome.position);
          gapMs = Math.max(gapMs, env.clock.monotonicMs() - lastMs);
          lastMs = env.clock.monotonicMs();
        }
      };
      const writing = Promise.all(
        engines.flatMap((engine, at) => ["a", "b"].map((one) => writer(`${at}${one}`, engine))),
      );
      const more = async () => {
        for (const wanted = acknowledged.size + 60; acknowledged.size < wanted;) await sleep(env.clock, 5);
      };
      await more();
      const leader = await leaderOf(servers.list, "R3");
      await servers.kill(leader);
      await more();
      await servers.startOne(leader);
      await more();
      over.abort();
      await writing;
      t.diagnostic(`${acknowledged.size} appends, longest time without an answer ${Math.round(gapMs)} ms`);
      const tail = await engines[0].tail();
      for (const engine of engines) {
        const texts = await take(engine, 0, tail);
        assert.equal(texts.length, acknowledged.size, "nothing is doubled");
        for (const [text, place] of acknowledged) assert.equal(texts[place], text);
        await engine.close();
      }
    });
  });
});

/** Which server leads a stream. */
async function leaderOf(servers: string, stream: string): Promise<number> {
  const connection = await connect({ servers: servers.split(",") });
  try {
    const manager = await jetstreamManager(connection);
    for (;;) {
      const { cluster } = await manager.streams.info(stream);
      if (cluster?.leader !== undefined) return Number(cluster.leader.slice(1));
      await sleep(env.clock, 20);
    }
  } finally {
    await connection.close();
  }
}

/** A cluster that has just begun may have no leader for streams yet. */
async function openSoon(address: string): Promise<NatsEngine> {
  for (;;) {
    try {
      return await NatsEngine.open(env, address);
    } catch {
      await sleep(env.clock, 100);
    }
  }
}

async function take(engine: LogEngine, from: number, wanted: number): Promise<string[]> {
  const texts: string[] = [];
  for await (const batch of engine.read(position(from))) {
    assert.equal(batch.position, from + texts.length);
    texts.push(...batch.records.map(utf8Decode));
    if (texts.length >= wanted) break;
  }
  return texts;
}
