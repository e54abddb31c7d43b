/** What `holdfast start` makes of its options. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { UsageError } from "./output.ts";
import { memberOptionsOf } from "./start-options.ts";
import type { StartOptions } from "./start-options.ts";

const plain: StartOptions = { data: "x", history: 7, cache: 1 };
const peers = "a=127.0.0.1:7421, b=127.0.0.1:7422,c=127.0.0.1:7423";

test("a member of a cluster that is founded listens at its own address of the list", () => {
  const options = memberOptionsOf({ ...plain, name: "b", peers, zone: "west" });
  assert.deepEqual(options, {
    listen: ["127.0.0.1:7422"],
    advertise: "127.0.0.1:7422",
    name: "b",
    zone: "west",
    peers: { a: "127.0.0.1:7421", b: "127.0.0.1:7422", c: "127.0.0.1:7423" },
    historyRevisions: 7,
    cacheSizeMax: 1_048_576,
  });
  const apart = memberOptionsOf({ ...plain, name: "b", peers, listen: "127.0.0.1:9,ws:127.0.0.1:8" });
  assert.deepEqual([apart.listen, apart.advertise], [["127.0.0.1:9", "ws:127.0.0.1:8"], "127.0.0.1:7422"]);
});

test("a member that joins, or is on its own", () => {
  const joining = memberOptionsOf({
    ...plain,
    name: "d",
    join: "127.0.0.1:1, 127.0.0.1:2",
    replace: "b",
    listen: "127.0.0.1:4",
  });
  assert.deepEqual(
    [joining.join, joining.replace, joining.listen],
    [["127.0.0.1:1", "127.0.0.1:2"], "b", ["127.0.0.1:4"]],
  );
  assert.equal("advertise" in joining, false);
  assert.equal("peers" in memberOptionsOf(plain), false);
});

const refusals: readonly [string, Partial<StartOptions>, RegExp][] = [
  ["both ways into a cluster", { name: "a", peers, join: "127.0.0.1:1" }, /--peers .*--join .*not both/],
  ["a cluster without a name", { peers }, /--name is missing/],
  ["a name that is not in the list", { name: "d", peers }, /--name d is not among --peers, which are a, b, c/],
  ["a name twice", { name: "a", peers: "a=127.0.0.1:1,a=127.0.0.1:2" }, /names a twice/],
  ["an address twice", { name: "a", peers: "a=127.0.0.1:1,b=127.0.0.1:1" }, /gives 127\.0\.0\.1:1 to two/],
  ["a peer without address", { name: "a", peers: "a" }, /"a" is no member; write NAME=ADDRESS/],
  ["a peer at port 0", { name: "a", peers: "a=127.0.0.1:0" }, /cannot reach port 0/],
  ["a peer at no address", { name: "a", peers: "a=nowhere" }, /--peers: "nowhere" is no address/],
  ["a name that breaks lists", { name: "a b" }, /"a b" is no name for a member/],
  ["a replacement out of nowhere", { replace: "b" }, /--replace b goes with --join/],
  ["an open network", { listen: "0.0.0.0:1" }, /beyond this machine/],
  ["an open network of its own in the list", { name: "a", peers: "a=10.0.0.1:1" }, /beyond this machine/],
];

for (const [what, options, pattern] of refusals) {
  test(`refused: ${what}`, () => {
    assert.throws(
      () => memberOptionsOf({ ...plain, ...options }),
      (error) => error instanceof UsageError && pattern.test(error.message),
    );
  });
}
