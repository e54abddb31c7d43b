/**
 * Proofs that a state has, or does not have, an entry: the pages from the root to the leaf where the key belongs, and
 * the blob of a large value. Who knows the root's hash needs nothing else to check one. docs/format.md, "Tree pages".
 *
 * A proof shows other entries of the leaf, and the tree's seed, with which keys can be chosen that make pages large: it
 * is for those who may read the state anyway.
 *
 * It stands on the root: a hash of a tree that was built against the rules proves nothing, `verify` finds such a tree.
 */
import { compareBytes, concatBytes, HoldfastError } from "../base/index.ts";
import type { Digest } from "../base/index.ts";
import type { Hash } from "../blob/index.ts";
import { seedSize } from "./boundary.ts";
import { encodeLargeValue, formatVersion, hashText, parseLargeValue, readU32, writeU32 } from "./format.ts";
import { Page } from "./page.ts";
import type { Block } from "./page.ts";
import { BlobSnapshot } from "./snapshot.ts";
import type { TreeSnapshot } from "./tree.ts";

const proofMagic = [0x48, 0x46, 0x54, 0x51] as const; // "HFTQ"
const proofHeaderSize = 6;
const noBytes = new Uint8Array(0);

/** The proof for `key` in a flushed state; `invalid` if the state is not flushed, for then it has no hash. */
export async function prove(snapshot: TreeSnapshot, key: Uint8Array): Promise<Uint8Array> {
  if (!(snapshot instanceof BlobSnapshot)) throw new TypeError("prove takes a snapshot of this tree's own making");
  const { cache } = snapshot;
  const blobs: Uint8Array[] = [];
  if (snapshot.root() === undefined) {
    throw new HoldfastError("invalid", "a state without a root cannot prove anything; flush it first");
  }
  const held: Block[] = [];
  const load = async (block: Block): Promise<void> => {
    held.push(block);
    await cache.hold(block);
  };
  try {
    for (let page = snapshot.page(); page.hash !== ""; page = page.children[page.childIndex(key)] as Page) {
      await load(page);
      // The page is clean, so its bytes are its blob.
      blobs.push(page.base);
      if (page.level > 0) continue;
      const index = page.search(key);
      const large = index < 0 ? undefined : page.largeAt(index);
      if (large !== undefined) {
        await load(large);
        blobs.push(encodeLargeValue(cache.seed, key, large.bytes));
      }
      break;
    }
  } finally {
    cache.letGo(held);
    cache.trimOthers();
  }
  const parts: Uint8Array[] = [Uint8Array.of(...proofMagic, formatVersion, blobs.length)];
  for (const blob of blobs) {
    const size = new Uint8Array(4);
    writeU32(size, 0, blob.length);
    parts.push(size, blob);
  }
  return concatBytes(parts);
}

/**
 * The value that `proof` shows for `key` in the state with this root hash (null: the empty state), or undefined when it
 * shows that there is none. `corrupt` when it shows neither: cut, changed, or for another key or state.
 */
export function checkProof(
  digest: Digest,
  rootHash: Hash | null,
  key: Uint8Array,
  proof: Uint8Array,
): Uint8Array | undefined {
  const blobs = parseProof(proof);
  if (rootHash === null) {
    if (blobs.length > 0) throw refused("the empty state has no pages");
    return undefined;
  }
  const first = blobs.shift();
  if (first === undefined || first.length < 10 + seedSize) throw refused("the root page is not in it");
  const seed = first.subarray(10, 10 + seedSize);
  let page = Page.stored(hashText(rootHash), -1, -1, -1, -1);
  accept(digest, page, first, seed);
  while (page.level > 0) {
    page = page.children[page.childIndex(key)] as Page;
    accept(digest, page, blobs.shift(), seed);
  }
  const index = page.search(key);
  const large = index < 0 ? undefined : page.largeAt(index);
  if (large !== undefined) {
    const blob = blobs.shift();
    accept(digest, large, blob, seed);
    if (compareBytes(parseLargeValue(blob ?? noBytes, seed).key, key) !== 0)
      throw refused("its value is another key's");
  }
  if (blobs.length > 0) throw refused("it holds more than the pages on the way");
  return index < 0 ? undefined : page.valueAt(index);
}

function accept(digest: Digest, block: Block, blob: Uint8Array | undefined, seed: Uint8Array): void {
  if (blob === undefined) throw refused("a page on the way is not in it");
  if (hashText(digest.sha256(blob)) !== block.hash) throw refused("a page does not have the hash that leads to it");
  block.accept(blob, seed);
}

function parseProof(proof: Uint8Array): Uint8Array[] {
  if (proof.length < proofHeaderSize || proofMagic.some((byte, i) => proof[i] !== byte))
    throw refused("the magic is wrong");
  if (proof[4] !== formatVersion) throw refused(`its version is ${proof[4]}; this code reads ${formatVersion}`);
  const blobs: Uint8Array[] = [];
  let at = proofHeaderSize;
  for (let count = proof[5] as number; count > 0; count--) {
    if (at + 4 > proof.length) throw refused("it is cut short");
    const end = at + 4 + readU32(proof, at);
    if (end > proof.length) throw refused("it is cut short");
    blobs.push(proof.subarray(at + 4, end));
    at = end;
  }
  if (at !== proof.length) throw refused("bytes follow the last page");
  return blobs;
}

function refused(why: string): HoldfastError {
  return new HoldfastError("corrupt", `the proof is not one for this key and state: ${why}`);
}
