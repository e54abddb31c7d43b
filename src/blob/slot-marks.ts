/** Which slots of an index are marked: one bit a slot, in an array that grows. */

const sizeMin = 512;

export class SlotMarks {
  #bits = new Uint8Array(sizeMin);

  has(slot: number): boolean {
    return ((this.#bits[slot >>> 3] ?? 0) & (1 << (slot & 7))) !== 0;
  }

  /** False if it was marked already. */
  add(slot: number): boolean {
    const at = slot >>> 3;
    if (at >= this.#bits.length) {
      const grown = new Uint8Array(Math.max(2 * this.#bits.length, at + 1));
      grown.set(this.#bits);
      this.#bits = grown;
    }
    const byte = this.#bits[at] as number;
    const bit = 1 << (slot & 7);
    if ((byte & bit) !== 0) return false;
    this.#bits[at] = byte | bit;
    return true;
  }

  delete(slot: number): void {
    const at = slot >>> 3;
    if (at < this.#bits.length) this.#bits[at] = (this.#bits[at] as number) & ~(1 << (slot & 7));
  }
}
