/** A blob out of its record, checked: what `get` serves and what `verify` looks for. */
import { equalBytes, HoldfastError } from "../base/index.ts";
import type { Digest } from "../base/index.ts";
import { readRecordHeader, recordHeaderSize, recordTypes } from "./pack-format.ts";
import type { RecordHeader } from "./pack-format.ts";
import type { Hash } from "./store.ts";

export type Opened = { readonly bytes: Uint8Array } | { readonly damage: string };

/** The blob `hash` from the bytes of the record at `offset`. The SHA-256 decides: it sees all that a CRC sees. */
export function openRecord(digest: Digest, salt: number, offset: number, record: Uint8Array, hash: Hash): Opened {
  const header = readRecordHeader(digest, salt, offset, record);
  if (header === undefined) return { damage: "its header fails the checksum" };
  if (!equalBytes(header.hash, hash)) return { damage: "it is the record of another blob" };
  return openBody(digest, header, record.subarray(recordHeaderSize));
}

export function openBody(digest: Digest, header: RecordHeader, body: Uint8Array): Opened {
  if (body.length !== header.storedSize) return { damage: "the file ends inside it" };
  const { type, rawSize, hash } = header;
  let bytes = body;
  if (type === recordTypes.zstd) {
    // Compressed data that is whole and cannot be read here (a door without zstd) is not damage.
    const intact = digest.crc32(body) === header.bodyCrc;
    if (!intact) return { damage: "its body fails the checksum" };
    try {
      bytes = digest.decompress(body, rawSize);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      return { damage: error.message };
    }
  } else if (type !== recordTypes.blob) {
    return { damage: "it is not the record of a blob" };
  }
  if (bytes.length !== rawSize) return { damage: `it holds ${bytes.length} bytes instead of ${rawSize}` };
  if (!equalBytes(digest.sha256(bytes), hash)) return { damage: "its content does not have its hash" };
  return { bytes };
}
