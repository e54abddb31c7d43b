/**
 * What the tree's tests share: an environment, a blob store that counts and can be told to misbehave, a random source
 * from a seed, and the loop by which a caller answers `PageMissing`.
 */
import { createHash } from "node:crypto";
import { HoldfastError } from "../base/index.ts";
import type { BlobStore, Hash } from "../blob/index.ts";
import { NodeClock, NodeDigest } from "../host/index.ts";
import { PageMissing } from "./index.ts";
import type { TreeEnv } from "./index.ts";

export const env: TreeEnv = { clock: new NodeClock(), digest: new NodeDigest() };

/** Long campaigns multiply their size by this. */
export const scale = Number(process.env["HOLDFAST_TEST_SCALE"] ?? 1);

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
export const seedOf = (text: string): Uint8Array =>
  new Uint8Array(createHash("sha256").update(text).digest().subarray(0, 16));

/** mulberry32: 32 bits of state, good enough to choose operations. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** A whole number from 0 to `below - 1`. */
  roll(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let x = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 4_294_967_296) * below);
  }

  bytes(size: number): Uint8Array {
    const bytes = new Uint8Array(size);
    for (let i = 0; i < size; i++) bytes[i] = this.roll(256);
    return bytes;
  }

  shuffled<T>(list: readonly T[]): T[] {
    const copy = list.slice();
    for (let i = copy.length - 1; i > 0; i--) {
      const j = this.roll(i + 1);
      [copy[i], copy[j]] = [copy[j] as T, copy[i] as T];
    }
    return copy;
  }
}

/** Blobs in a map; checks hashes on put; answers in a later turn, so that races can happen. */
export class CountingBlobStore implements BlobStore {
  readonly blobs = new Map<string, Uint8Array>();
  /** Whether `get` looks at what it gives, as a store must. */
  verifies = true;
  getCount = 0;
  putCount = 0;
  /** Called before each answer; may wait or throw. */
  beforeGet: (hash: string) => Promise<void> | void = () => {};
  beforePut: (hash: string) => Promise<void> | void = () => {};
  beforeDelete: () => Promise<void> | void = () => {};

  async put(hash: Hash, bytes: Uint8Array): Promise<void> {
    const name = hex(hash);
    if (hex(env.digest.sha256(bytes)) !== name) throw new Error("put under a wrong hash");
    this.putCount++;
    await this.beforePut(name);
    this.blobs.set(name, bytes);
  }

  async get(hash: Hash): Promise<Uint8Array | undefined> {
    const name = hex(hash);
    this.getCount++;
    await this.beforeGet(name);
    const bytes = this.blobs.get(name);
    if (this.verifies && bytes !== undefined && hex(env.digest.sha256(bytes)) !== name) {
      throw new HoldfastError("corrupt", `blob ${name} is damaged`);
    }
    // A copy: what the tree gets from a real store is not what it put there.
    return bytes?.slice();
  }

  has(hash: Hash): Promise<boolean> {
    return Promise.resolve(this.blobs.has(hex(hash)));
  }

  async delete(hashes: readonly Hash[]): Promise<void> {
    await this.beforeDelete();
    for (const hash of hashes) this.blobs.delete(hex(hash));
  }

  async sync(): Promise<void> {}

  async *list(): AsyncIterable<{ readonly hash: Hash; readonly size: number }> {
    for (const [name, bytes] of this.blobs)
      yield { hash: new Uint8Array(Buffer.from(name, "hex")), size: bytes.length };
  }

  async close(): Promise<void> {}
}

/** Repeats a synchronous call until all it needs is there. Counts how often it had to load. */
export async function loading<T>(call: () => T, onMiss: () => void = () => {}): Promise<T> {
  for (;;) {
    try {
      return call();
    } catch (error) {
      if (!(error instanceof PageMissing)) throw error;
      onMiss();
      await error.load();
    }
  }
}
