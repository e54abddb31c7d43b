/** Everybody sees the same messages in the same order, whenever they come. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { open } from "../src/index.ts";
import { Room } from "./chat.ts";
import type { Message } from "./chat.ts";

async function take(room: Room, count: number): Promise<readonly Message[]> {
  const messages: Message[] = [];
  for await (const message of room.listen(0)) {
    messages.push(message);
    if (messages.length === count) break;
  }
  return messages;
}

test("a room", async () => {
  await using store = await open(":memory:");
  const ada = await Room.enter(store, "lobby", "ada");
  const bob = await Room.enter(store, "lobby", "bob");
  assert.deepEqual(await ada.whoIsHere(), ["ada", "bob"]);
  const early = take(ada, 20);
  await Promise.all(
    Array.from({ length: 10 }, async (_, index) => {
      await ada.say(`a${index}`);
      await bob.say(`b${index}`);
    }),
  );
  const eve = await Room.enter(store, "lobby", "eve");
  assert.deepEqual(await take(eve, 20), await early);
  assert.equal((await early).filter(({ from }) => from === "bob").length, 10);
  await bob.leave();
  assert.deepEqual(await eve.whoIsHere(), ["ada", "eve"]);
  // Another room has nothing of it.
  const other = await Room.enter(store, "kitchen", "ada");
  assert.equal(await other.say("hello"), 0);
  for (const room of [ada, eve, other]) await room.leave();
});
