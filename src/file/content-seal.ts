/**
 * What stands in the entry of a file of an encrypted bucket in the place of a signature: only who has the bucket's data key
 * can have said that a file has these bytes, or that a link points there.
 *
 *   seal:    HMAC-SHA-256(HMAC-SHA-256(data key, "holdfast entry seal 1"), message), 32 bytes
 *   message: type:1 depth:4 size:8 hashSize:1 hash inlineSize:4 inline target
 *
 * The numbers are little-endian; type is 0 for a file and 2 for a link; `inline` is the sealed form that the entry has. The
 * hash of the root vouches for the lists below it, and each of those for what it names, so that the seal covers every byte.
 * It covers neither the path nor anything else that is said of a file: entries are copied and moved without the key.
 */
import { concatBytes, equalBytes, HoldfastError, utf8Encode, writeUint32LE, writeUint64LE } from "../base/index.ts";
import type { Cipher, Init } from "../base/index.ts";
import type { FileContent } from "../view/index.ts";

type Sealable = Pick<Init<typeof FileContent>, "type" | "size" | "hash" | "depth" | "inline" | "target">;

const none = new Uint8Array(0);
const label = utf8Encode("holdfast entry seal 1");

/** Of a file or a link; a folder has none. */
export function sealOf(cipher: Cipher, dataKey: Uint8Array, content: Sealable): Uint8Array {
  const { type = "file", size = 0, hash = none, depth = 0, inline = none, target = none } = content;
  const header = new Uint8Array(14);
  header[0] = type === "link" ? 2 : 0;
  writeUint32LE(header, 1, depth);
  writeUint64LE(header, 5, size);
  header[13] = hash.length;
  const inlineSize = new Uint8Array(4);
  writeUint32LE(inlineSize, 0, inline.length);
  return cipher.hmac(cipher.hmac(dataKey, label), concatBytes([header, hash, inlineSize, inline, target]));
}

/** `corrupt`, naming the place, unless somebody who has the key has made this content. */
export function checkSeal(cipher: Cipher, dataKey: Uint8Array, content: FileContent, place: string): void {
  if (equalBytes(sealOf(cipher, dataKey, content), content.seal)) return;
  throw new HoldfastError(
    "corrupt",
    `${place} was not put with the key of its bucket, or its entry was changed since: what it says of its bytes is not to be trusted; put it again, or get an older version`,
  );
}
