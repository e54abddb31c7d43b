import assert from "node:assert/strict";
import { test } from "node:test";
import { shrink } from "./shrink.ts";

const list = Array.from({ length: 40 }, (_, index) => index);

async function needing(...needed: readonly number[]): Promise<{ readonly left: readonly number[]; tries: number }> {
  let tries = 0;
  const fails = async (part: readonly number[]) => {
    tries += 1;
    return needed.every((each) => part.includes(each));
  };
  return { left: await shrink(list, fails, { goOn: () => true }), tries };
}

test("only what the failure needs is left, in its order", async () => {
  assert.deepEqual((await needing()).left, []);
  assert.deepEqual((await needing(0)).left, [0]);
  assert.deepEqual((await needing(39)).left, [39]);
  assert.deepEqual((await needing(3, 17, 31)).left, [3, 17, 31]);
  assert.deepEqual((await needing(...list)).left, list);
});

test("one of many is found with far fewer attempts than elements", async () => {
  const { tries } = await needing(23);
  assert.ok(tries < 25, `${tries} attempts`);
});

test("when the time is over, what was found so far is given", async () => {
  let tries = 0;
  const fails = async (part: readonly number[]) => (tries += 1) > 0 && part.includes(5) && part.includes(6);
  const left = await shrink(list, fails, { goOn: () => tries < 3 });
  assert.ok(left.length < list.length && left.includes(5) && left.includes(6), left.join());
});
