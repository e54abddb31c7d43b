/** Objects in three embedded members and a client, while the cluster is in trouble: equal states, nothing lost or doubled. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../../base/index.ts";
import { defineObject } from "../../view/index.ts";
import type { Store } from "../../member/index.ts";
import { Prng } from "../prng.ts";
import { tell } from "./scenario.suite.ts";
import type { Scene } from "./scenario.suite.ts";
import { trouble } from "./trouble.suite.ts";

const Ledger = defineObject("ledger", {
  initial: () => ({ sums: {} as Record<string, number>, names: [] as string[], chance: 0 }),
  commands: {
    add(state, name: string, amount: number) {
      state.names.push(name);
      state.sums[name] = (state.sums[name] ?? 0) + amount;
      state.chance = this.random();
      if (amount === 3) throw new RangeError("three is too much");
      return this.sequence;
    },
  },
});

interface Given {
  readonly name: string;
  readonly outcome: "done" | "refused" | "unknown";
  readonly sequence?: number;
}

/** Gives commands, each with a name of its own, through one process; where it dies, through what comes in its place. */
async function give(
  scene: Scene,
  who: string,
  find: () => Store | undefined,
  random: Prng,
  endMs: number,
): Promise<Given[]> {
  const given: Given[] = [];
  let [store, ledger]: [Store | undefined, Awaited<ReturnType<typeof open>> | undefined] = [undefined, undefined];
  while (scene.simulator.nowMs < endMs) {
    await scene.sleep(20 + random.below(100));
    const found = find();
    if (found === undefined) continue;
    const name = `${who}.${given.length}`;
    // A process that dies answers nothing any more.
    const patience = scene
      .sleep(6_000)
      .then(() => Promise.reject(new HoldfastError("timeout", "it is dead", { maybe: true })));
    patience.catch(() => {});
    try {
      if (store !== found) ledger = await Promise.race([open(found), patience]);
      store = found;
      assert.ok(ledger !== undefined);
      const sequence = await Promise.race([ledger.add(name, random.below(4)), patience]);
      given.push({ name, outcome: "done", sequence });
    } catch (error) {
      if (error instanceof RangeError) given.push({ name, outcome: "refused" });
      else {
        assert.ok(error instanceof HoldfastError, String(error));
        given.push({ name, outcome: "unknown" });
      }
    }
  }
  ledger?.close();
  return given;
}

/** Members play as in development, the client as in production: both must come to the same. */
function open(store: Store) {
  return store.object(Ledger, "shared", { snapshotEvery: 25, development: "replica" in store });
}

for (const seed of [1, 2, 3]) {
  test(`an object is the same in members and a client of a cluster in trouble (seed ${seed})`, async () => {
    await tell({ seed: `object ${seed}`, memberCount: 3 }, async (scene) => {
      const random = new Prng(`object ${seed}`);
      const durationMs = 6_000;
      const endMs = scene.simulator.nowMs + durationMs;
      const client = await scene.client();
      const givers = scene.seats.map((seat) =>
        give(scene, seat.name, () => seat.member?.store, random.fork(seat.name), endMs),
      );
      givers.push(give(scene, "client", () => client, random.fork("client"), endMs));
      await trouble(scene, random.fork("trouble"), durationMs - 1_000);
      const given = (await Promise.all(givers)).flat();
      const copies = await Promise.all([client, ...scene.seats.map((seat) => scene.store(seat))].map(open));
      for (const copy of copies) {
        await copy.fresh();
        assert.deepEqual(copy.state, copies[0]?.state);
      }
      const { names = [] } = copies[0]?.state ?? {};
      assert.equal(new Set(names).size, names.length, "no command has been played twice");
      for (const { name, outcome } of given) {
        if (outcome === "done") assert.ok(names.includes(name), `${name} was acknowledged, and is lost`);
        if (outcome === "refused") assert.ok(!names.includes(name), `${name} was refused, and has left something`);
      }
      const done = given.filter(({ outcome }) => outcome === "done");
      const sequences = done.map(({ sequence }) => sequence);
      assert.equal(new Set(sequences).size, sequences.length, "each has a number of its own");
      assert.ok(done.length > 50, `${done.length} commands are a test`);
      for (const copy of copies) copy.close();
      await client.close();
    });
  });
}
