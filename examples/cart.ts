/**
 * A shared shopping cart: an object of an own type on a cluster that does not know its code. Start a member with `npm start`,
 * then run this in two terminals:
 *
 *   node examples/cart.ts 127.0.0.1:7420 family add milk 2
 *   node examples/cart.ts 127.0.0.1:7420 family watch
 */
import { connect, defineObject } from "../src/index.ts";
import type { Store } from "../src/index.ts";

interface CartState {
  items: { name: string; count: number }[];
}

export const Cart = defineObject("cart", {
  initial: (): CartState => ({ items: [] }),
  commands: {
    add(state, name: string, count: number) {
      if (!(count > 0)) throw new RangeError(`${count} of ${name} cannot be added; add at least one`);
      const item = state.items.find((one) => one.name === name);
      if (item === undefined) state.items.push({ name, count });
      else item.count += count;
    },
    /** Answers whether it was there. */
    remove(state, name: string) {
      const before = state.items.length;
      state.items = state.items.filter((one) => one.name !== name);
      return state.items.length < before;
    },
  },
  queries: {
    total: (state) => state.items.reduce((sum, { count }) => sum + count, 0),
    lines: (state) => state.items.map(({ name, count }) => `${count} ${name}`),
  },
});

/** Orders the cart: it is empty, and the order there, or neither. */
export async function order(store: Store, key: string): Promise<string[]> {
  const { value } = await store.transaction(async (tx) => {
    const cart = tx.object(Cart, key);
    const { items } = await cart.read();
    for (const { name } of items) await cart.remove(name);
    const lines = items.map(({ name, count }) => `${count} ${name}`);
    tx.keys.put(`orders/${key}/${tx.revision}`, lines);
    return lines;
  });
  return value;
}

async function main([address = "127.0.0.1:7420", key = "family", command = "list", name = "", count = "1"]: string[]) {
  await using store = await connect(address);
  using cart = await store.object(Cart, key);
  if (command === "add") await cart.add(name, Number(count));
  if (command === "remove") await cart.remove(name);
  if (command === "order") console.log(`ordered: ${(await order(store, key)).join(", ")}`);
  if (command === "watch") for await (const { items } of cart.watch()) console.log(items);
  await cart.fresh();
  console.log(cart.lines().join("\n"));
}

if (import.meta.main) await main(process.argv.slice(2));
