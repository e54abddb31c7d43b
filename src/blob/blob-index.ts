/**
 * Where every blob is: a hash table in memory, of typed arrays only, about 65 bytes a blob.
 *
 * A slot holds a hash and five numbers; slots live in segments that never move, so growing copies no hash. 256 tables of
 * slot numbers, chosen by a byte of the hash, find a slot by linear probing; each grows on its own, so that no insertion
 * waits for more than a 256th of the whole to be arranged anew. The order of probing is seeded: nobody can choose blobs
 * that collide.
 *
 * 1. A slot keeps its number from `add` to `remove`.
 * 2. A slot whose pack is 0 has no record yet: its put is under way.
 */
import { assert, readUint32LE } from "../base/index.ts";
import { hashSize } from "./check.ts";
import type { Hash } from "./store.ts";

const segmentBits = 12;
const segmentCount = 1 << segmentBits;
const segmentMask = segmentCount - 1;
const tableCount = 256;
const tableSizeMin = 8;
const fieldCount = 5;
/** The pack of a slot that is free; the offset is then the next free slot plus one. */
const freePack = 0xffffffff;

interface Table {
  /** Slot plus one; 0 is empty. The size is a power of two. */
  slots: Uint32Array;
  count: number;
}

export class BlobIndex {
  readonly #seed: number;
  readonly #tables: Table[] = [];
  readonly #hashes: Uint8Array[] = [];
  /** Five a slot: pack, offset, stored size, raw size, epoch. */
  readonly #fields: Uint32Array[] = [];
  #slotCount = 0;
  #count = 0;
  /** The first free slot plus one. */
  #free = 0;

  /** `seed` is 32 random bits. */
  constructor(seed: number) {
    this.#seed = seed;
    for (let number = 0; number < tableCount; number++) {
      this.#tables.push({ slots: new Uint32Array(tableSizeMin), count: 0 });
    }
  }

  get count(): number {
    return this.#count;
  }

  /** Slots are numbered below this. */
  get slotCount(): number {
    return this.#slotCount;
  }

  /** The slot of a hash; -1 if there is none. */
  find(hash: Hash): number {
    const { slots } = this.#tables[hash[hashSize - 1] as number] as Table;
    const mask = slots.length - 1;
    for (let at = this.#mix(hash, 0) & mask; ; at = (at + 1) & mask) {
      const slot = (slots[at] as number) - 1;
      if (slot < 0 || this.#equals(slot, hash)) return slot;
    }
  }

  /** A new slot for a hash that has none; its pack is 0. */
  add(hash: Hash, epoch: number): number {
    assert(hash.length === hashSize, `a hash has ${hash.length} bytes`);
    const slot = this.#take();
    (this.#hashes[slot >>> segmentBits] as Uint8Array).set(hash, (slot & segmentMask) * hashSize);
    this.set(slot, 0, 0, 0, 0);
    this.setEpoch(slot, epoch);
    const table = this.#tables[hash[hashSize - 1] as number] as Table;
    table.count += 1;
    this.#count += 1;
    if (table.count * 4 > table.slots.length * 3) this.#grow(table);
    this.#insert(table.slots, slot);
    return slot;
  }

  remove(slot: number): void {
    const hashes = this.#hashes[slot >>> segmentBits] as Uint8Array;
    const at = (slot & segmentMask) * hashSize;
    const table = this.#tables[hashes[at + hashSize - 1] as number] as Table;
    const { slots } = table;
    const mask = slots.length - 1;
    let hole = this.#mix(hashes, at) & mask;
    while (slots[hole] !== slot + 1) {
      assert(slots[hole] !== 0, "a slot is removed that is not in its table");
      hole = (hole + 1) & mask;
    }
    // Whoever was pushed past the hole moves back, so that no probe ends early.
    for (let next = (hole + 1) & mask; slots[next] !== 0; next = (next + 1) & mask) {
      const other = (slots[next] as number) - 1;
      const home = this.#homeOf(other) & mask;
      if (((next - home) & mask) < ((next - hole) & mask)) continue;
      slots[hole] = other + 1;
      hole = next;
    }
    slots[hole] = 0;
    table.count -= 1;
    this.#count -= 1;
    this.set(slot, freePack, this.#free, 0, 0);
    this.#free = slot + 1;
  }

  /** The epoch stays as it is. */
  set(slot: number, pack: number, offset: number, storedSize: number, rawSize: number): void {
    const fields = this.#fields[slot >>> segmentBits] as Uint32Array;
    const at = (slot & segmentMask) * fieldCount;
    fields[at] = pack;
    fields[at + 1] = offset;
    fields[at + 2] = storedSize;
    fields[at + 3] = rawSize;
  }

  setEpoch(slot: number, epoch: number): void {
    (this.#fields[slot >>> segmentBits] as Uint32Array)[(slot & segmentMask) * fieldCount + 4] = epoch;
  }

  /** 0 while the slot has no record. */
  packOf(slot: number): number {
    return this.#field(slot, 0);
  }

  offsetOf(slot: number): number {
    return this.#field(slot, 1);
  }

  storedSizeOf(slot: number): number {
    return this.#field(slot, 2);
  }

  rawSizeOf(slot: number): number {
    return this.#field(slot, 3);
  }

  /** When the blob was last put or touched (`collection.ts`). */
  epochOf(slot: number): number {
    return this.#field(slot, 4);
  }

  /** A copy. */
  hashOf(slot: number): Hash {
    const at = (slot & segmentMask) * hashSize;
    return (this.#hashes[slot >>> segmentBits] as Uint8Array).slice(at, at + hashSize);
  }

  /** Whether the slot has a record. */
  isPlaced(slot: number): boolean {
    const pack = this.#field(slot, 0);
    return pack !== 0 && pack !== freePack;
  }

  /** Whether the slot of `hash` is the record at this place. */
  isAt(slot: number, pack: number, offset: number): boolean {
    return slot >= 0 && this.packOf(slot) === pack && this.offsetOf(slot) === offset;
  }

  #field(slot: number, number: number): number {
    return (this.#fields[slot >>> segmentBits] as Uint32Array)[(slot & segmentMask) * fieldCount + number] as number;
  }

  #take(): number {
    if (this.#free !== 0) {
      const slot = this.#free - 1;
      this.#free = this.offsetOf(slot);
      return slot;
    }
    const slot = this.#slotCount;
    if (slot >>> segmentBits === this.#hashes.length) {
      this.#hashes.push(new Uint8Array(segmentCount * hashSize));
      this.#fields.push(new Uint32Array(segmentCount * fieldCount));
    }
    this.#slotCount += 1;
    return slot;
  }

  #grow(table: Table): void {
    const old = table.slots;
    table.slots = new Uint32Array(old.length * 2);
    for (const entry of old) if (entry !== 0) this.#insert(table.slots, entry - 1);
  }

  #insert(slots: Uint32Array, slot: number): void {
    const mask = slots.length - 1;
    let at = this.#homeOf(slot) & mask;
    while (slots[at] !== 0) at = (at + 1) & mask;
    slots[at] = slot + 1;
  }

  #homeOf(slot: number): number {
    return this.#mix(this.#hashes[slot >>> segmentBits] as Uint8Array, (slot & segmentMask) * hashSize);
  }

  #mix(bytes: Uint8Array, at: number): number {
    let mixed = Math.imul(readUint32LE(bytes, at) ^ this.#seed, 0x9e3779b1);
    mixed = Math.imul(mixed ^ (mixed >>> 15) ^ readUint32LE(bytes, at + 4), 0x85ebca6b);
    return (mixed ^ (mixed >>> 13)) >>> 0;
  }

  #equals(slot: number, hash: Hash): boolean {
    const hashes = this.#hashes[slot >>> segmentBits] as Uint8Array;
    const at = (slot & segmentMask) * hashSize;
    for (let index = 0; index < hashSize; index++) if (hashes[at + index] !== hash[index]) return false;
    return true;
  }
}
