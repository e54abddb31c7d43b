/** Where in the journal each entry of the log stands, and which positions it holds. */
import { assert } from "../../base/index.ts";

export class EntryPlaces {
  /** Of the entry before the first that is here, and one past its last record. */
  #baseIndex: number;
  #basePosition: number;
  /** Journal positions of the entries, and for each one past its last record. */
  #places: number[] = [];
  #ends: number[] = [];

  constructor(baseIndex: number, basePosition: number) {
    this.#baseIndex = baseIndex;
    this.#basePosition = basePosition;
  }

  get lastIndex(): number {
    return this.#baseIndex + this.#places.length;
  }

  /** The entry stands at `place`; entries from its index on are void. */
  put(index: number, place: number, end: number): void {
    assert(index > this.#baseIndex && index <= this.lastIndex + 1, `entry ${index} follows entry ${this.lastIndex}`);
    this.#places.length = index - this.#baseIndex - 1;
    this.#ends.length = this.#places.length;
    this.#places.push(place);
    this.#ends.push(end);
  }

  has(index: number): boolean {
    return index > this.#baseIndex && index <= this.lastIndex;
  }

  placeOf(index: number): number {
    const place = this.#places[index - this.#baseIndex - 1];
    assert(place !== undefined, `entry ${index} is in the journal`);
    return place;
  }

  /** One past the last record of the entry. */
  endOf(index: number): number {
    if (index === this.#baseIndex) return this.#basePosition;
    const end = this.#ends[index - this.#baseIndex - 1];
    assert(end !== undefined, `entry ${index} is in the journal`);
    return end;
  }

  /** The first entry that ends behind `position`: the one that holds it, if any does; else one past the last. */
  indexOf(position: number): number {
    let low = 0;
    let high = this.#ends.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ends[middle] as number) > position) high = middle;
      else low = middle + 1;
    }
    return this.#baseIndex + 1 + low;
  }

  /** Entries up to `index` are gone. */
  trim(index: number): void {
    if (index <= this.#baseIndex) return;
    this.#basePosition = this.endOf(index);
    this.#places = this.#places.slice(index - this.#baseIndex);
    this.#ends = this.#ends.slice(index - this.#baseIndex);
    this.#baseIndex = index;
  }

  /** All entries are gone; the next has `baseIndex + 1`. */
  reset(baseIndex: number, basePosition: number): void {
    this.#baseIndex = baseIndex;
    this.#basePosition = basePosition;
    this.#places = [];
    this.#ends = [];
  }
}
