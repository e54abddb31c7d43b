/** Many transfers at once, with somebody who adds up all the time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { open } from "../src/index.ts";
import { balances, openAccount, transfer } from "./bank.ts";

test("money is neither made nor lost, and whoever adds it up sees all of it", async () => {
  await using store = await open(":memory:");
  const names = ["ada", "bob", "eve"];
  for (const name of names) assert.equal(await openAccount(store, name, 100), true);
  assert.equal(await openAccount(store, "ada", 1_000_000), false);
  const outcomes = await Promise.allSettled(
    Array.from({ length: 60 }, async (_, index) => {
      await transfer(store, names[index % 3] ?? "", names[(index * 7 + 1) % 3] ?? "", 1 + (index % 40));
      const all = [...(await balances(store)).values()];
      assert.equal(
        all.reduce((sum, one) => sum + one, 0),
        300,
      );
      assert.ok(all.every((balance) => balance >= 0));
    }),
  );
  for (const outcome of outcomes) {
    if (outcome.status === "rejected") assert.match(String(outcome.reason), /has \d+, not \d+/);
  }
  await assert.rejects(transfer(store, "ada", "nobody", 1), /no account/);
  assert.ok((await store.counter("transfers").get()) > 0);
});
