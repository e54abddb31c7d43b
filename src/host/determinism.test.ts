/** What code that must be deterministic calls is told, and everything is back in its place afterwards. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { NodeDeterminism } from "./determinism.ts";

const calls: readonly (readonly [string, () => unknown])[] = [
  ["Date.now()", () => Date.now()],
  ["new Date()", () => new Date()],
  ["Date()", () => Date()],
  ["Math.random()", () => Math.random()],
  ["performance.now()", () => performance.now()],
  ["crypto.randomUUID()", () => crypto.randomUUID()],
  ["setTimeout()", () => setTimeout(() => {}, 0)],
  ["fs.readFileSync()", () => readFileSync(import.meta.filename)],
];

for (const [what, call] of calls) {
  test(`${what} is refused and told, and works again afterwards`, () => {
    let refused = false;
    const told = new NodeDeterminism().watch(() => {
      try {
        call();
      } catch {
        refused = true;
      }
    });
    assert.equal(told, what);
    assert.ok(refused);
    assert.doesNotThrow(call);
  });
}

test("the first is told, what is deterministic is not, and watches may nest", () => {
  const door = new NodeDeterminism();
  assert.equal(
    door.watch(() => assert.equal(new Date(5).getTime(), Math.max(1, 5))),
    undefined,
  );
  const told = door.watch(() => {
    assert.equal(
      door.watch(() => assert.throws(() => Math.random())),
      undefined,
    );
    assert.throws(() => Date.now());
  });
  assert.equal(told, "Math.random()");
  assert.ok(new Date() instanceof Date);
});
