/** How blobs are cut into parts and gathered into messages: a blob may be larger than a message, and small ones share one. */

/** Bytes after which a message is sent, and the longest part: on a slow line, too, one comes every few seconds. */
const messageSizeMax = 65_536;
/** What a part takes beside its bytes, so that many empty blobs do not make a message without end. */
const partOverheadSize = 16;

export class PartGatherer<Part> {
  #parts: Part[] = [];
  #size = 0;

  /** Adds a blob; gives the messages that are full. `part` is called for each of its parts, of which there is at least one. */
  *add(blob: Uint8Array, part: (bytes: Uint8Array, first: boolean) => Part): Generator<Part[], void, undefined> {
    let at = 0;
    do {
      const bytes = blob.subarray(at, at + messageSizeMax);
      if (this.#size > 0 && this.#size + bytes.length > messageSizeMax) yield this.#take();
      this.#parts.push(part(bytes, at === 0));
      this.#size += bytes.length + partOverheadSize;
      at += bytes.length;
    } while (at < blob.length);
  }

  /** Gives what is left. */
  *rest(): Generator<Part[], void, undefined> {
    if (this.#parts.length > 0) yield this.#take();
  }

  #take(): Part[] {
    const parts = this.#parts;
    this.#parts = [];
    this.#size = 0;
    return parts;
  }
}
