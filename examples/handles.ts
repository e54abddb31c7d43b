/**
 * Handles that nobody has twice: a map of people with a unique index. Start a member with `npm start`, then:
 *
 *   node examples/handles.ts 127.0.0.1:7420 take ada-1815 ada
 *   node examples/handles.ts 127.0.0.1:7420 find ada
 */
import { connect, HoldfastError } from "../src/index.ts";
import type { Store } from "../src/index.ts";

export interface Person {
  readonly handle: string;
}

export async function people(store: Store) {
  const map = store.map<Person, string>("people");
  // Costs one command where the index is there already.
  await map.defineIndex("byHandle", { path: "handle", unique: true });
  return map;
}

/** Gives the handle to the person, whatever he had before; false if somebody else has it. */
export async function take(store: Store, person: string, handle: string): Promise<boolean> {
  const map = await people(store);
  try {
    await map.update(person, () => ({ handle: handle.toLowerCase() }));
    return true;
  } catch (error) {
    if (error instanceof HoldfastError && error.code === "exists") return false;
    throw error;
  }
}

/** Who has it. */
export async function find(store: Store, handle: string): Promise<string | undefined> {
  const map = await people(store);
  return (await map.index("byHandle").get(handle.toLowerCase()))?.key;
}

if (import.meta.main) {
  const [addresses = "", what = "", ...rest] = process.argv.slice(2);
  await using store = await connect(addresses);
  const [first = "", second = ""] = rest;
  if (what === "take") console.log((await take(store, first, second)) ? `${first} is ${second}` : `${second} is taken`);
  else console.log((await find(store, first)) ?? "nobody");
}
