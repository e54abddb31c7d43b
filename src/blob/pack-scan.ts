/**
 * Reads a pack from its bytes alone, record by record, and goes on behind damage: with the next header that passes its
 * checksum, which depends on the pack and the offset (`pack-format.ts`, invariant 1).
 */
import type { Digest, DiskFile } from "../base/index.ts";
import { readRecordHeader, recordHeaderSize } from "./pack-format.ts";
import type { RecordHeader } from "./pack-format.ts";

/** Bytes asked for at once. */
const windowSize = 1_048_576;

export type ScanItem =
  | {
      readonly kind: "record";
      readonly offset: number;
      /** Header and body. */
      readonly size: number;
      readonly header: RecordHeader;
      readonly body: Uint8Array;
      /** Whether the body passes its checksum. */
      readonly intact: boolean;
    }
  /** Bytes that are no record. */
  | { readonly kind: "damage"; readonly offset: number; readonly size: number };

/** Everything from `from` to `to`, in order and without gaps. The arrays stay valid. */
export async function* scanPack(
  digest: Digest,
  file: Pick<DiskFile, "read">,
  salt: number,
  from: number,
  to: number,
): AsyncGenerator<ScanItem, void, undefined> {
  const window = new Window(file, to);
  let offset = from;
  while (offset < to) {
    const head = window.peek(offset, recordHeaderSize) ?? (await window.view(offset, recordHeaderSize));
    const header = readRecordHeader(digest, salt, offset, head);
    const size = recordHeaderSize + (header?.storedSize ?? 0);
    if (header === undefined || offset + size > to) {
      const next = header === undefined ? await findRecord(digest, window, salt, offset + 1, to) : to;
      yield { kind: "damage", offset, size: next - offset };
      offset = next;
      continue;
    }
    const whole = window.peek(offset, size) ?? (await window.view(offset, size));
    const body = whole.subarray(recordHeaderSize);
    // A file that has become shorter meanwhile gives fewer bytes, which fail the checksum.
    const intact = digest.crc32(body) === header.bodyCrc;
    yield { kind: "record", offset, size, header, body, intact };
    offset += size;
  }
}

/** The offset of the next header that can be trusted; `to` if there is none. */
async function findRecord(digest: Digest, window: Window, salt: number, from: number, to: number): Promise<number> {
  for (let start = from; start + recordHeaderSize <= to;) {
    const bytes = await window.view(start, Math.min(windowSize, to - start));
    if (bytes.length < recordHeaderSize) return to;
    for (let at = bytes.indexOf(0x48); at >= 0; at = bytes.indexOf(0x48, at + 1)) {
      if (readRecordHeader(digest, salt, start + at, bytes.subarray(at, at + recordHeaderSize)) !== undefined) {
        return start + at;
      }
    }
    // A header may begin in the last bytes and end behind them.
    start += bytes.length - recordHeaderSize + 1;
  }
  return to;
}

/** A part of a file in memory, read ahead. */
class Window {
  readonly #file: Pick<DiskFile, "read">;
  readonly #end: number;
  #bytes: Uint8Array = new Uint8Array(0);
  #offset = 0;

  constructor(file: Pick<DiskFile, "read">, end: number) {
    this.#file = file;
    this.#end = end;
  }

  /** The bytes if they have been read already. */
  peek(offset: number, size: number): Uint8Array | undefined {
    const at = offset - this.#offset;
    return at >= 0 && at + size <= this.#bytes.length ? this.#bytes.subarray(at, at + size) : undefined;
  }

  /** `size` bytes from `offset`; fewer only at the end. */
  async view(offset: number, size: number): Promise<Uint8Array> {
    const there = this.peek(offset, size);
    if (there !== undefined) return there;
    const want = Math.min(Math.max(size, windowSize), this.#end - offset);
    this.#bytes = await this.#file.read(offset, want);
    this.#offset = offset;
    return this.#bytes.subarray(0, size);
  }
}
