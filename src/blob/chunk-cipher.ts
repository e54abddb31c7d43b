/**
 * Encryption of the chunks of one bucket, from its data key of 32 bytes.
 *
 * A message is a chunk or a small file, compressed where that helps, behind a byte that says which, and its size. Its
 * name within, `siv`, is its HMAC; it is encrypted by AES-256-GCM with a key of its own, the HMAC of `siv`, and a nonce of
 * zeros, which is used once with that key since another message has another `siv`; the sealed bytes are `siv`, ciphertext
 * and tag. This is the idea of RFC 5297 and RFC 8452 (synthetic initialisation vectors) with the parts that every
 * platform has.
 *
 * Invariants:
 *  1. The same message is sealed to the same bytes under the same key, so that equal chunks of a bucket are kept once.
 *  2. Without the key nobody can tell whether two buckets hold the same chunk, nor whether one holds a chunk that he knows.
 *     What it does not hide: the size of each chunk, and that two of one bucket are equal.
 *  3. Sealed bytes that open under a key were made by somebody who has it. The tag says so; `siv` needs no second look,
 *     since the key of the tag is made from it.
 *
 * Format: `docs/format.md`, "File contents".
 */
import { assert, HoldfastError, readUint32LE, utf8Encode, writeUint32LE } from "../base/index.ts";
import type { Cipher, Digest } from "../base/index.ts";
import { secretGear } from "./chunker-gear.ts";
import type { GearTable } from "./chunker-gear.ts";
import { compressed } from "./stored-blob.ts";

const keySize = 32;
const sivSize = 32;
const tagSize = 16;
const headerSize = 5;
const nonce = new Uint8Array(12);

/** By how much sealed bytes are longer than what is sealed, at most. */
export const sealedOverhead = sivSize + headerSize + tagSize;

/** The first byte of a message. A chunk cannot stand in for a small file. */
const forms = { chunk: 0, compressedChunk: 1, inline: 2 } as const;

export type Sealed = "chunk" | "inline";

export class ChunkCipher {
  readonly #cipher: Cipher;
  readonly #sivKey: Uint8Array;
  readonly #messageKey: Uint8Array;
  readonly #gearSecret: Uint8Array;
  #gear: GearTable | undefined;

  constructor(cipher: Cipher, key: Uint8Array) {
    if (key.length !== keySize) {
      throw new HoldfastError("invalid", `the data key of a bucket is ${key.length} bytes; it must have ${keySize}`);
    }
    this.#cipher = cipher;
    // A key for each purpose: what is done with one says nothing about another.
    this.#sivKey = cipher.hmac(key, utf8Encode("holdfast chunk siv 1"));
    this.#messageKey = cipher.hmac(key, utf8Encode("holdfast chunk key 1"));
    this.#gearSecret = cipher.hmac(key, utf8Encode("holdfast chunk gear 1"));
  }

  /** Where the bucket's files are cut. */
  get gear(): GearTable {
    this.#gear ??= secretGear(this.#cipher, this.#gearSecret);
    return this.#gear;
  }

  /** Small files are not compressed, as they are not without a key. */
  seal(digest: Digest, as: Sealed, bytes: Uint8Array, compress: boolean): Uint8Array {
    const frame = as === "chunk" && compress ? compressed(digest, bytes) : undefined;
    const body = frame ?? bytes;
    const message = new Uint8Array(headerSize + body.length);
    message[0] = as === "inline" ? forms.inline : frame === undefined ? forms.chunk : forms.compressedChunk;
    writeUint32LE(message, 1, bytes.length);
    message.set(body, headerSize);
    const siv = this.#cipher.hmac(this.#sivKey, message);
    const encrypted = this.#cipher.encrypt(this.#cipher.hmac(this.#messageKey, siv), nonce, message);
    assert(encrypted.length === message.length + tagSize, "AES-GCM adds a tag and nothing else");
    const sealed = new Uint8Array(sivSize + encrypted.length);
    sealed.set(siv);
    sealed.set(encrypted, sivSize);
    return sealed;
  }

  /**
   * What was sealed, at most `sizeMax` bytes. `denied` if it was not sealed with this key: the caller has looked for damage
   * where it can. `corrupt` if whoever has the key has sealed something else.
   */
  open(digest: Digest, as: Sealed, sealed: Uint8Array, sizeMax: number): Uint8Array {
    const message = this.#decrypt(sealed);
    if (message === undefined) {
      throw new HoldfastError(
        "denied",
        "the bytes are encrypted with another key than the one given; give the passphrase or the key file of the bucket",
      );
    }
    const form = message[0];
    const size = message.length < headerSize ? -1 : readUint32LE(message, 1);
    const expected = as === "inline" ? form === forms.inline : form === forms.chunk || form === forms.compressedChunk;
    const body = message.subarray(headerSize);
    if (!expected || size < 0 || size > sizeMax || (form !== forms.compressedChunk && size !== body.length)) {
      throw new HoldfastError("corrupt", `what was encrypted is no ${as} of at most ${sizeMax} bytes`);
    }
    const bytes = form === forms.compressedChunk ? digest.decompress(body, size) : body;
    if (bytes.length === size) return bytes;
    throw new HoldfastError("corrupt", `an encrypted chunk has ${bytes.length} bytes instead of ${size}`);
  }

  #decrypt(sealed: Uint8Array): Uint8Array | undefined {
    if (sealed.length < sivSize + tagSize) return undefined;
    const key = this.#cipher.hmac(this.#messageKey, sealed.subarray(0, sivSize));
    return this.#cipher.decrypt(key, nonce, sealed.subarray(sivSize));
  }
}

/** The ciphers of the keys used last, so that nothing is derived again for each chunk. */
export class ChunkCiphers {
  readonly #cipher: Cipher | undefined;
  readonly #countMax: number;
  /** The one used last is the last. */
  readonly #entries: { readonly key: Uint8Array; readonly cipher: ChunkCipher }[] = [];

  constructor(cipher: Cipher | undefined, countMax = 8) {
    this.#cipher = cipher;
    this.#countMax = countMax;
  }

  /** `invalid` where this machine cannot encrypt, or the key has another size. */
  of(key: Uint8Array): ChunkCipher {
    const index = this.#entries.findIndex((entry) => sameKey(entry.key, key));
    const found = index < 0 ? undefined : this.#entries.splice(index, 1)[0];
    if (found !== undefined) {
      this.#entries.push(found);
      return found.cipher;
    }
    if (this.#cipher === undefined) {
      throw new HoldfastError("invalid", "this machine has no encryption (Env.cipher): the bucket cannot be used here");
    }
    const cipher = new ChunkCipher(this.#cipher, key);
    // The caller may wipe the key that it gave.
    this.#entries.push({ key: key.slice(), cipher });
    if (this.#entries.length > this.#countMax) this.#entries.shift();
    return cipher;
  }
}

/** In a time that does not depend on where they differ. */
function sameKey(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let index = 0; index < a.length; index++) difference |= (a[index] as number) ^ (b[index] as number);
  return difference === 0;
}
