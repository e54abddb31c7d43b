/** Maps in a cluster of three with crashes and partitions: updates exact, unique indexes unique, rows those of the entries. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../../base/index.ts";
import { tell } from "./scenario.suite.ts";

interface Account {
  readonly balance: number;
  readonly handle: string;
}

for (const seed of [1, 2]) {
  test(`money is kept and handles are unique, whatever happens to members (seed ${seed})`, async () => {
    await tell(
      { seed, memberCount: 3, member: { cacheSizeMax: 20_000, checkpointLogSizeMin: 4_000 } },
      async (scene) => {
        const first = await scene.client();
        const accounts = first.map<Account, number>("accounts");
        await accounts.defineIndex("byHandle", { path: "handle", unique: true });
        for (let id = 0; id < 5; id++) await accounts.set(id, { balance: 100, handle: `first${id}` });
        const random = scene.simulator.random.fork("map");
        const stop = new AbortController();
        let addedMin = 0;
        let addedMax = 0;
        const client = async () => {
          const store = await scene.client();
          const map = store.map<Account, number>("accounts");
          while (!stop.signal.aborted) {
            await scene.sleep(random.below(60));
            const [from, to, amount] = [random.below(5), random.below(5), random.below(20)];
            const handle = `h${random.below(4)}`;
            const dice = random.float();
            try {
              if (dice < 0.4) {
                await store.transaction(async (tx) => {
                  const mine = tx.map<Account, number>("accounts");
                  const [source, sink] = [await mine.get(from), await mine.get(to)];
                  assert.ok(source !== undefined && sink !== undefined);
                  if (from === to) return;
                  mine.set(from, { ...source, balance: source.balance - amount });
                  mine.set(to, { ...sink, balance: sink.balance + amount });
                });
              } else if (dice < 0.6) {
                await map.update(to, (account) => ({ balance: account?.balance ?? 0, handle }));
              } else if (dice < 0.8) {
                addedMax++;
                await store.counter("added").add(1);
                addedMin++;
              } else {
                const { value } = await store.transaction((tx) => tx.map<Account, number>("accounts").list());
                const sum = value.reduce((total, one) => total + one.value.balance, 0);
                assert.equal(sum, 500, "a transaction reads one state");
              }
            } catch (error) {
              if (!(error instanceof HoldfastError)) throw error;
            }
          }
        };
        const clients = [client(), client(), client()];
        for (let round = 0; round < 4; round++) {
          await scene.sleep(500 + random.below(500));
          const leader = await scene.leader();
          if (random.chance(0.5)) {
            scene.cluster.stop(leader, { unsynced: "random" });
          } else {
            scene.cutOff(leader);
          }
          await scene.sleep(2_000);
          scene.heal();
          await scene.everybodyRuns();
        }
        stop.abort();
        await Promise.all(clients);
        const all: { readonly key: number; readonly value: Account }[] = [];
        for await (const entry of accounts.entries()) all.push(entry);
        assert.equal(
          all.reduce((total, one) => total + one.value.balance, 0),
          500,
        );
        assert.equal(new Set(all.map((one) => one.value.handle)).size, 5);
        for (const { key, value } of all) {
          assert.equal((await accounts.index("byHandle").get(value.handle))?.key, key);
        }
        assert.equal(await accounts.index("byHandle").count(), 5);
        const added = await first.counter("added").get();
        assert.ok(added >= addedMin && added <= addedMax, `${addedMin} ≤ ${added} ≤ ${addedMax}`);
      },
    );
  });
}
