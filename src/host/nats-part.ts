/**
 * What one message of a stream holds: a batch of neighbouring records, or a part of one that is larger than a message may
 * be. Every message is appended on the condition that the one before it is the last of the stream, so that all writers
 * agree on the position of each.
 *
 * A batch whose parts are not all there, one behind the other, is void: another writer came between, and its writer has
 * begun again with another number.
 *
 * Format: docs/format.md, "Messages of a log on NATS JetStream".
 */
import { assert, bytes, concatBytes, message, position, repeated, uint64 } from "../base/index.ts";
import type { Infer } from "../base/index.ts";
import type { LogBatch } from "../log/index.ts";

/** Who does the chores: a claim, or that it is given up. */
export const claims = { none: 0, claim: 1, release: 2 } as const;

export const NatsPart = message("holdfast.log.NatsPart", {
  /** The position of the batch's first record, and how many records it has; none for a claim or a question. */
  position: uint64(1),
  count: uint64(2),
  /** Drawn at random when an engine is opened; with the number, which grows, the batch's name. */
  writer: uint64(3),
  number: uint64(4),
  /** Which part it is, from 0, of how many. */
  part: uint64(5),
  parts: uint64(6),
  claim: uint64(7),
  /** A part of the encoded records. */
  data: bytes(8),
});
export type NatsPart = Infer<typeof NatsPart>;

const Records = message("holdfast.log.NatsRecords", { records: repeated(bytes(1)) });

/** The parts of a batch, in order: at least one. */
export function partsOf(
  batch: { readonly position: number; readonly writer: number; readonly number: number; readonly claim: number },
  records: readonly Uint8Array[],
  partSizeMax: number,
): NatsPart[] {
  const whole = Records.encode({ records: [...records] });
  const parts = Math.max(1, Math.ceil(whole.length / partSizeMax));
  return Array.from({ length: parts }, (_, part) => {
    const data = whole.subarray(part * partSizeMax, (part + 1) * partSizeMax);
    return { ...batch, count: records.length, part, parts, data };
  });
}

/** Puts parts together again that are handed to it in the order of the stream. */
export class Assembler {
  #parts: NatsPart[] = [];

  /** The batch that this part completes, if it does and if there are records in it. */
  add(part: NatsPart): LogBatch | undefined {
    const [first] = this.#parts;
    const follows =
      first !== undefined &&
      first.writer === part.writer &&
      first.number === part.number &&
      part.part === this.#parts.length;
    if (!follows) this.#parts = [];
    if (part.part !== this.#parts.length) return undefined;
    this.#parts.push(part);
    if (this.#parts.length < part.parts) return undefined;
    const parts = this.#parts;
    this.#parts = [];
    if (part.count === 0) return undefined;
    const { records } = Records.decode(concatBytes(parts.map(({ data }) => data)));
    assert(records.length === part.count, `a batch of ${part.count} records holds ${records.length}`);
    return { position: position(part.position), records };
  }
}
