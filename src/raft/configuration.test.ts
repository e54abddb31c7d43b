import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { HoldfastError } from "../base/index.ts";
import { changed, completed, emptyConfiguration, isVoter, memberCountMax } from "./index.ts";
import type { Configuration, MembershipChange } from "./index.ts";

type Put = NonNullable<MembershipChange["put"]>[number];

const member = (id: number, more: Partial<Put> = {}): Put => ({
  id,
  name: `m${id}`,
  address: `m${id}:1`,
  zone: "",
  voter: true,
  replaces: 0,
  stays: false,
  ...more,
});

const voters = (configuration: Configuration, which: "voter" | "outgoing" = "voter") =>
  configuration.members.filter((member) => member[which]).map(({ id }) => id);

function refused(before: Configuration, change: MembershipChange, code: string): void {
  assert.throws(
    () => changed(before, change),
    (error) => error instanceof HoldfastError && error.code === code,
  );
}

const three = completed(changed(emptyConfiguration, { put: [member(3), member(1), member(2)] }));

describe("changes of the membership", () => {
  it("of the voters go through a joint configuration", () => {
    const joint = changed(three, { put: [member(4), member(3, { voter: false })], remove: [1] });
    assert.equal(joint.joint, true);
    assert.deepEqual(voters(joint, "outgoing"), [1, 2, 3]);
    assert.deepEqual(voters(joint), [2, 4]);
    assert.deepEqual(
      joint.members.map(({ id }) => id),
      [1, 2, 3, 4],
    );
    assert.deepEqual(joint.removed, [], "a member that leaves is needed until it has left");
    const after = completed(joint);
    assert.equal(after.joint, false);
    assert.deepEqual(voters(after), [2, 4]);
    assert.deepEqual(voters(after, "outgoing"), []);
    assert.deepEqual(
      after.members.filter((member) => !isVoter(member)).map(({ id }) => id),
      [3],
    );
    assert.deepEqual(after.removed, [1]);
  });

  it("of anything else do not", () => {
    const learner = changed(three, { put: [member(4, { voter: false })], leaderZone: "a" });
    assert.equal(learner.joint, false);
    assert.equal(learner.leaderZone, "a");
    const moved = changed(learner, { put: [member(2, { address: "elsewhere:1" })] });
    assert.equal(moved.joint, false);
    assert.deepEqual(voters(moved), [1, 2, 3]);
    assert.equal(moved.leaderZone, "a", "what is not named stays");
    const without = changed(moved, { remove: [4] });
    assert.equal(without.joint, false);
    assert.deepEqual(without.removed, [4]);
  });

  it("that make no sense are refused", () => {
    refused(three, { remove: [9] }, "notFound");
    refused(three, { remove: [1, 2, 3] }, "invalid");
    refused(three, { put: [member(4, { name: "m1" })] }, "exists");
    for (const id of [0, -1, 1.5, Number.NaN]) refused(three, { put: [member(id)] }, "invalid");
    const many = Array.from({ length: memberCountMax - 2 }, (_, at) => member(10 + at, { voter: false }));
    refused(three, { put: many }, "invalid");
    assert.equal(changed(three, { put: many.slice(1) }).members.length, memberCountMax);
  });

  it("never bring a removed member back", () => {
    const two = completed(changed(three, { remove: [3] }));
    refused(two, { put: [member(3)] }, "denied");
    const next = completed(changed(two, { put: [member(4)], remove: [2] }));
    assert.deepEqual(next.removed, [2, 3]);
    refused(next, { put: [member(3)] }, "denied");
    // Its name is free.
    assert.deepEqual(voters(changed(next, { put: [member(5, { name: "m3" })] })), [1, 4, 5]);
  });
});
