/**
 * A bank: accounts in a map, every transfer a transaction, and a counter of them. Start a member with `npm start`, then:
 *
 *   node examples/bank.ts 127.0.0.1:7420 open ada 100
 *   node examples/bank.ts 127.0.0.1:7420 transfer ada bob 30
 *   node examples/bank.ts 127.0.0.1:7420 list
 */
import { connect } from "../src/index.ts";
import type { Store } from "../src/index.ts";

/** False if there is an account of the name. */
export async function openAccount(store: Store, name: string, balance: number): Promise<boolean> {
  const { value } = await store.transaction(async (tx) => {
    const accounts = tx.map<number, string>("accounts");
    if (await accounts.has(name)) return false;
    accounts.set(name, balance);
    return true;
  });
  return value;
}

/** All or nothing; an error, and nothing, where the money is not there. */
export async function transfer(store: Store, from: string, to: string, amount: number): Promise<void> {
  if (!Number.isSafeInteger(amount) || amount < 1) throw new RangeError(`${amount} is no amount`);
  await store.transaction(async (tx) => {
    const accounts = tx.map<number, string>("accounts");
    const [source, sink] = [await accounts.get(from), await accounts.get(to)];
    if (source === undefined || sink === undefined) throw new Error(`${from} or ${to} has no account`);
    if (source < amount) throw new Error(`${from} has ${source}, not ${amount}`);
    if (from === to) return;
    accounts.set(from, source - amount);
    accounts.set(to, sink + amount);
    // Adding reads nothing, so that transfers between other accounts do not meet here.
    tx.counter("transfers").add(1);
  });
}

/** All balances of one moment. */
export async function balances(store: Store): Promise<ReadonlyMap<string, number>> {
  const { value } = await store.transaction((tx) => tx.map<number, string>("accounts").list());
  return new Map(value.map((entry) => [entry.key, entry.value]));
}

if (import.meta.main) {
  const [addresses = "", what = "", first = "", second = "", third = ""] = process.argv.slice(2);
  await using store = await connect(addresses);
  if (what === "open") console.log((await openAccount(store, first, Number(second))) ? "opened" : "there is one");
  else if (what === "transfer") await transfer(store, first, second, Number(third));
  for (const [name, balance] of await balances(store)) console.log(`${name}\t${balance}`);
}
