/** A blob out of its record, checked: what `get` serves and what `verify` looks for. */
import { equalBytes } from "../base/index.ts";
import type { Digest } from "../base/index.ts";
import { readRecordHeader, recordHeaderSize, recordTypes } from "./pack-format.ts";
import type { RecordHeader } from "./pack-format.ts";
import { contentOf } from "./stored-blob.ts";
import type { Hash, StoredBlob } from "./store.ts";

interface Damaged {
  readonly damage: string;
}
export type Opened = { readonly bytes: Uint8Array } | Damaged;
export type OpenedStored = { readonly blob: StoredBlob } | Damaged;

/** The blob `hash` from the bytes of the record at `offset`. The SHA-256 decides: it sees all that a CRC sees. */
export function openRecord(digest: Digest, salt: number, offset: number, record: Uint8Array, hash: Hash): Opened {
  const header = headerOf(digest, salt, offset, record, hash);
  return "damage" in header ? header : openBody(digest, header, record.subarray(recordHeaderSize));
}

/** The same blob as it is stored: the checksums are right, the hash is not looked at. */
export function openStored(digest: Digest, salt: number, offset: number, record: Uint8Array, hash: Hash): OpenedStored {
  const header = headerOf(digest, salt, offset, record, hash);
  if ("damage" in header) return header;
  const { type, storedSize, rawSize, bodyCrc } = header;
  const bytes = record.subarray(recordHeaderSize);
  if (bytes.length !== storedSize) return { damage: "the file ends inside it" };
  if (digest.crc32(bytes) !== bodyCrc) return { damage: "its body fails the checksum" };
  const compressed = type === recordTypes.zstd;
  if (!compressed && type !== recordTypes.blob) return { damage: "it is not the record of a blob" };
  if (!compressed && rawSize !== storedSize) return { damage: `it holds ${storedSize} bytes instead of ${rawSize}` };
  return { blob: { size: rawSize, compressed, bytes } };
}

function headerOf(
  digest: Digest,
  salt: number,
  offset: number,
  record: Uint8Array,
  hash: Hash,
): RecordHeader | Damaged {
  const header = readRecordHeader(digest, salt, offset, record);
  if (header === undefined) return { damage: "its header fails the checksum" };
  return equalBytes(header.hash, hash) ? header : { damage: "it is the record of another blob" };
}

export function openBody(digest: Digest, header: RecordHeader, body: Uint8Array): Opened {
  const { type, storedSize, rawSize, hash, bodyCrc } = header;
  if (body.length !== storedSize) return { damage: "the file ends inside it" };
  const isFrame = type === recordTypes.zstd;
  if (!isFrame && type !== recordTypes.blob) return { damage: "it is not the record of a blob" };
  // Compressed data that is whole and cannot be read here (a door without zstd) is not damage.
  if (isFrame && digest.crc32(body) !== bodyCrc) return { damage: "its body fails the checksum" };
  return contentOf(digest, hash, { size: rawSize, compressed: isFrame, bytes: body });
}
