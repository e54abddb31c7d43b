/** True proofs are accepted, for presence and absence; anything altered is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError } from "../base/index.ts";
import { CountingBlobStore, Dice, env, hex, scale, seedOf, utf8 } from "./fixture.suite.ts";
import { checkProof, emptyTree, openTree, prove } from "./index.ts";
import type { TreeEdit } from "./index.ts";

const corrupt = (error: unknown) => error instanceof HoldfastError && error.code === "corrupt";
const check = (root: Uint8Array | null, key: Uint8Array, proof: Uint8Array) => checkProof(env.digest, root, key, proof);

async function filled(cacheSizeMax = 1 << 20): Promise<TreeEdit> {
  const tree = await openTree(env, new CountingBlobStore(), emptyTree(seedOf("proof")), { cacheSizeMax });
  const dice = new Dice(1);
  for (let i = 0; i < 2_000; i++) tree.set(utf8(`key/${i * 2}`), dice.bytes(i % 40 === 0 ? 2_500 : 12));
  return tree;
}

test("true proofs, of presence and of absence", async () => {
  const tree = await filled(0);
  const { root } = await tree.flush();
  const snapshot = tree.freeze();
  for (let i = 0; i < 400; i++) {
    const key = utf8(`key/${i}`);
    const value = check(root.hash, key, await prove(snapshot, key));
    const wanted = await snapshot.get(key);
    assert.deepEqual(value, wanted);
    assert.equal(value === undefined, i % 2 === 1);
  }
  for (const key of [new Uint8Array(0), utf8("a"), utf8("z"), new Uint8Array(9_000)]) {
    assert.equal(check(root.hash, key, await prove(snapshot, key)), undefined);
  }
});

test("the empty state", async () => {
  const tree = await openTree(env, new CountingBlobStore(), emptyTree(seedOf("proof")));
  const proof = await prove(tree.freeze(), utf8("a"));
  assert.equal(check(null, utf8("a"), proof), undefined);
  assert.throws(() => check(new Uint8Array(32), utf8("a"), proof), corrupt);
});

test("a proof for another key, another state, or altered in any way is refused", async () => {
  const tree = await filled();
  const { root } = await tree.flush();
  const snapshot = tree.freeze();
  const [key, absent] = [utf8("key/160"), utf8("key/161")];
  const proof = await prove(snapshot, key);
  const absence = await prove(snapshot, absent);
  assert.equal(check(root.hash, key, proof)?.length, 2_500);
  tree.set(key, utf8("another"));
  const later = await tree.flush();
  assert.throws(() => check(later.root.hash, key, proof), corrupt);
  assert.throws(() => check(null, key, proof), corrupt);
  assert.throws(() => check(root.hash, utf8("key/3998"), proof), corrupt);

  const dice = new Dice(3);
  for (let i = 0; i < 2_000 * scale; i++) {
    const [of, original] = i % 2 === 0 ? ([key, proof] as const) : ([absent, absence] as const);
    const bytes = original.slice();
    const at = dice.roll(i % 4 < 2 ? 40 : bytes.length);
    bytes[at]! ^= 1 << dice.roll(8);
    assert.throws(() => check(root.hash, of, bytes), corrupt, `byte ${at}`);
  }
  for (let size = 0; size < proof.length; size += 1 + (size >> 6)) {
    assert.throws(() => check(root.hash, key, proof.subarray(0, size)), corrupt, `cut to ${size}`);
  }
  assert.throws(() => check(root.hash, key, new Uint8Array([...proof, 0])), corrupt);
  for (let i = 0; i < 3_000 * scale; i++) {
    const bytes = dice.bytes(dice.roll(100));
    if (bytes.length > 6) bytes.set([0x48, 0x46, 0x54, 0x51, 1, dice.roll(3)]);
    assert.throws(() => check(root.hash, key, bytes), corrupt);
  }
});

test("a state without a root proves nothing, nor does a released one", async () => {
  const tree = await filled();
  const changed = tree.freeze();
  await assert.rejects(prove(changed, utf8("a")), { code: "invalid" });
  await tree.flush();
  assert.equal(hex(changed.root()!.hash!).length, 64);
  await prove(changed, utf8("a"));
  changed.release();
  await assert.rejects(prove(changed, utf8("a")), { code: "invalid" });
});
