/**
 * One file of a simulated disk: what programs see, what is surely on the platter, and the changes in between.
 *
 * 1. A change (a write or a truncation) is visible from the moment it completes, and durable when a sync that began
 *    after that completes, or at once if it was made through a durable handle.
 * 2. A sync that fails leaves its changes orphaned: visible, but no later sync makes them durable by itself. That is
 *    what a page cache does which marks pages clean although writing them back failed.
 * 3. Changes that overlap reach the platter in their order: they share pages. Whatever makes a change durable also does
 *    so for the older ones that it overlaps.
 * 4. In a crash every change that is not durable meets its own fate. Its fate follows from the seed.
 */
import type { Prng } from "./prng.ts";

/** What a crash does to the changes that were not durable. */
export type UnsyncedFate = "random" | "lost" | "kept";

/** The unit that a device writes as a whole. */
const sectorSize = 512;

/** Bytes that grow; what lies between the old end and a write beyond it reads as zeros. */
class Content {
  #bytes = new Uint8Array(0);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  read(offset: number, size: number): Uint8Array {
    return this.#bytes.slice(Math.min(offset, this.#size), Math.min(offset + size, this.#size));
  }

  write(data: Uint8Array, offset: number): void {
    if (data.length === 0) return;
    this.resize(Math.max(this.#size, offset + data.length));
    this.#bytes.set(data, offset);
  }

  resize(size: number): void {
    if (size < this.#size) {
      this.#bytes.fill(0, size, this.#size);
    } else if (size > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(size, 2 * this.#bytes.length, 256));
      grown.set(this.#bytes.subarray(0, this.#size));
      this.#bytes = grown;
    }
    this.#size = size;
  }

  flipBit(bit: number): void {
    this.#bytes[bit >>> 3] = (this.#bytes[bit >>> 3] as number) ^ (1 << (bit & 7));
  }
}

export type Change =
  | { readonly kind: "write"; readonly offset: number; readonly data: Uint8Array }
  | { readonly kind: "truncate"; readonly size: number };

interface Unsynced {
  readonly change: Change;
  orphaned: boolean;
}

export class SimFile {
  readonly #current = new Content();
  #durable = new Content();
  #unsynced: Unsynced[] = [];

  get size(): number {
    return this.#current.size;
  }

  read(offset: number, size: number): Uint8Array {
    return this.#current.read(offset, size);
  }

  /** What would surely survive a crash at this moment. */
  readDurable(): Uint8Array {
    return this.#durable.read(0, this.#durable.size);
  }

  /** The change is complete; `durable` if it was made through a durable handle (1). */
  apply(change: Change, durable: boolean): void {
    const unsynced: Unsynced = { change, orphaned: false };
    applyTo(this.#current, change);
    this.#unsynced.push(unsynced);
    if (durable) this.#settle(new Set([unsynced]));
  }

  /** What a sync that begins now covers; for `settle` or `orphan`. */
  mark(): ReadonlySet<unknown> {
    return new Set(this.#unsynced.filter((each) => !each.orphaned));
  }

  /** A sync has completed. */
  settle(mark: ReadonlySet<unknown>): void {
    this.#settle(mark);
  }

  /** A sync has failed (2). */
  orphan(mark: ReadonlySet<unknown>): void {
    for (const each of this.#unsynced) if (mark.has(each)) each.orphaned = true;
  }

  /** The power is gone; `inFlight` are changes that were under way, in some order (4). */
  crash(inFlight: readonly Change[], random: Prng, fate: UnsyncedFate): void {
    const open = [...this.#unsynced.map((each) => each.change), ...inFlight];
    for (const change of open) {
      if (fate === "kept") applyTo(this.#durable, change);
      else if (fate === "random") suffer(this.#durable, change, random);
    }
    this.#unsynced = [];
    this.#current.resize(0);
    this.#current.write(this.#durable.read(0, this.#durable.size), 0);
    this.#current.resize(this.#durable.size);
  }

  /** Damages the medium itself. `bit` counts from the start of the file; beyond the end it has no effect. */
  flipBit(bit: number): void {
    if (bit < 8 * this.#current.size) this.#current.flipBit(bit);
    if (bit < 8 * this.#durable.size) this.#durable.flipBit(bit);
  }

  #settle(mark: ReadonlySet<unknown>): void {
    if (mark.size === 0) return;
    const reached: Change[] = [];
    const settled = new Set(mark);
    // From the newest to the oldest, so that a change settled only because of a newer one takes its own elders along.
    for (let index = this.#unsynced.length - 1; index >= 0; index -= 1) {
      const each = this.#unsynced[index] as Unsynced;
      if (!settled.has(each) && !reached.some((newer) => overlap(each.change, newer))) continue;
      settled.add(each);
      reached.push(each.change);
    }
    for (const change of reached.toReversed()) applyTo(this.#durable, change);
    this.#unsynced = this.#unsynced.filter((each) => !settled.has(each));
  }
}

function applyTo(content: Content, change: Change): void {
  if (change.kind === "write") content.write(change.data, change.offset);
  else content.resize(change.size);
}

function overlap(a: Change, b: Change): boolean {
  const [aFrom, aTo] = range(a);
  const [bFrom, bTo] = range(b);
  return aFrom < bTo && bFrom < aTo;
}

function range(change: Change): [from: number, to: number] {
  return change.kind === "write"
    ? [change.offset, change.offset + change.data.length]
    : [change.size, Number.POSITIVE_INFINITY];
}

/** One change in a power failure. */
function suffer(content: Content, change: Change, random: Prng): void {
  const dice = random.float();
  if (dice < 0.35) return;
  if (dice < 0.65 || change.kind === "truncate") return applyTo(content, change);
  const { data, offset } = change;
  if (dice < 0.8) {
    // Torn at a sector: what came before the tear is there.
    const sectors = Math.floor((offset + data.length) / sectorSize) - Math.floor(offset / sectorSize);
    const tear = (Math.floor(offset / sectorSize) + random.below(sectors + 1)) * sectorSize - offset;
    content.write(data.subarray(0, Math.max(0, tear)), offset);
  } else if (dice < 0.86) {
    // Torn anywhere, as when a device does not keep to its sectors.
    content.write(data.subarray(0, random.below(data.length + 1)), offset);
  } else if (dice < 0.94) {
    // Any subset of the sectors: they were written in another order.
    let from = 0;
    while (from < data.length) {
      const to = Math.min(data.length, from + sectorSize - ((offset + from) % sectorSize));
      if (random.chance(0.5)) content.write(data.subarray(from, to), offset + from);
      from = to;
    }
  } else {
    // The file has grown, the data did not arrive: zeros, or whatever was there.
    content.resize(Math.max(content.size, offset + data.length));
  }
}
