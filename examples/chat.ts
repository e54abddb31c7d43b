/**
 * A chat over a stream: everybody reads all messages in one order, from the first or from where they are, and sees who is
 * here. Start a member with `npm start`, then, in several terminals:
 *
 *   node examples/chat.ts 127.0.0.1:7420 lobby ada
 */
import { createInterface } from "node:readline/promises";
import { connect } from "../src/index.ts";
import type { Hold, Store } from "../src/index.ts";

export interface Message {
  readonly from: string;
  readonly text: string;
}

export class Room {
  readonly #store: Store;
  readonly #name: string;
  readonly #place: Hold;
  readonly user: string;

  private constructor(store: Store, name: string, user: string, place: Hold) {
    this.#store = store;
    this.#name = name;
    this.user = user;
    this.#place = place;
  }

  /** Who leaves without a word, because the machine dies, is gone ten seconds later. */
  static async enter(store: Store, name: string, user: string): Promise<Room> {
    return new Room(store, name, user, await store.presence(name).join({ value: user }));
  }

  get #stream() {
    return this.#store.log<Message>(this.#name);
  }

  /** It is kept, and in its place among all messages, when this resolves. */
  async say(text: string): Promise<number> {
    return await this.#stream.append({ from: this.user, text });
  }

  /** All messages from this position on, those to come included. */
  async *listen(from: number, signal?: AbortSignal): AsyncGenerator<Message, void, undefined> {
    for await (const { value } of this.#stream.tail({ from, signal })) yield value;
  }

  async whoIsHere(): Promise<readonly string[]> {
    const here = await Array.fromAsync(this.#store.presence<string>(this.#name).list());
    return here.map(({ value }) => value);
  }

  leave(): Promise<void> {
    return this.#place.release();
  }
}

if (import.meta.main) {
  const [addresses = "", name = "lobby", user = "somebody"] = process.argv.slice(2);
  await using store = await connect(addresses);
  const room = await Room.enter(store, name, user);
  console.log(`here: ${(await room.whoIsHere()).join(", ")}`);
  const stop = new AbortController();
  const listening = (async () => {
    for await (const { from, text } of room.listen(0, stop.signal)) console.log(`${from}: ${text}`);
  })();
  for await (const line of createInterface({ input: process.stdin })) await room.say(line);
  stop.abort();
  await listening;
  await room.leave();
}
