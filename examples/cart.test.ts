/** The cart of examples/cart.ts, opened twice. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { open } from "../src/index.ts";
import { Cart, order } from "./cart.ts";

test("a shared cart is the same for all, refuses nonsense, and is ordered once", async () => {
  await using member = await open(":memory:");
  using cart = await member.object(Cart, "family");
  using second = await member.object(Cart, "family");
  await Promise.all([cart.add("milk", 1), second.add("milk", 2), second.add("tea", 1)]);
  await Promise.all([cart.fresh(), second.fresh()]);
  assert.deepEqual(cart.state, second.state);
  assert.equal(cart.total(), 4);
  await assert.rejects(cart.add("tea", 0), RangeError);
  assert.equal(await second.remove("bread"), false);
  const orders = await Promise.all([order(member, "family"), order(member, "family")]);
  assert.deepEqual(
    orders.map(({ length }) => length).toSorted((a, b) => a - b),
    [0, 2],
    "what one has ordered the other has not",
  );
  await cart.fresh();
  assert.equal(cart.total(), 0);
});
