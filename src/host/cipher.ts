/**
 * Encryption by the native code inside Node.js (OpenSSL).
 *
 * 1. What is given out is a new array: neither the caller's input nor a pool of buffers shares its memory.
 * 2. A key of the wrong size, or a cost of scrypt that this door refuses, is `invalid`; a wrong tag is a value.
 */
import { createCipheriv, createDecipheriv, createHmac, createSecretKey, scrypt } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { equalBytes, HoldfastError } from "../base/index.ts";
import type { Cipher } from "../base/index.ts";

const keySize = 32;
const nonceSize = 12;
const tagSize = 16;

/** Prepared keys of HMAC that are remembered: setting one up costs several times as much as a short HMAC itself. */
const preparedKeyCountMax = 16;

/** What one scrypt may take, so that a cost from somewhere else cannot fill this machine's memory. Bytes. */
const scryptSizeMax = 1_073_741_824;

interface PreparedKey {
  readonly bytes: Uint8Array;
  readonly object: KeyObject;
}

export class NodeCipher implements Cipher {
  /** The one used last comes first. */
  readonly #prepared: PreparedKey[] = [];

  hmac(key: Uint8Array, bytes: Uint8Array): Uint8Array {
    const digest = createHmac("sha256", this.#prepare(key)).update(bytes).digest();
    return Uint8Array.from(digest);
  }

  encrypt(key: Uint8Array, nonce: Uint8Array, bytes: Uint8Array): Uint8Array {
    checkSizes(key, nonce);
    const cipher = createCipheriv("aes-256-gcm", key, nonce, { authTagLength: tagSize });
    const sealed = new Uint8Array(bytes.length + tagSize);
    sealed.set(cipher.update(bytes));
    // GCM is a stream cipher: `final` gives no more bytes, but makes the tag.
    cipher.final();
    sealed.set(cipher.getAuthTag(), bytes.length);
    return sealed;
  }

  decrypt(key: Uint8Array, nonce: Uint8Array, bytes: Uint8Array): Uint8Array | undefined {
    checkSizes(key, nonce);
    if (bytes.length < tagSize) return undefined;
    const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: tagSize });
    decipher.setAuthTag(bytes.subarray(bytes.length - tagSize));
    const content = decipher.update(bytes.subarray(0, bytes.length - tagSize));
    try {
      decipher.final();
    } catch {
      return undefined;
    }
    return new Uint8Array(content.buffer, content.byteOffset, content.length);
  }

  async scrypt(
    passphrase: Uint8Array,
    salt: Uint8Array,
    cost: { readonly n: number; readonly r: number; readonly p: number },
  ): Promise<Uint8Array> {
    const { n, r, p } = cost;
    const whole = [n, r, p].every((value) => Number.isSafeInteger(value) && value >= 1);
    if (!whole || n < 2 || !Number.isInteger(Math.log2(n))) {
      throw new HoldfastError(
        "invalid",
        `scrypt takes an n that is a power of 2, and r and p from 1: not ${n}, ${r}, ${p}`,
      );
    }
    // The working memory of RFC 7914 and a little that OpenSSL counts with it.
    const size = 128 * r * (n + p + 2);
    if (size > scryptSizeMax) {
      throw new HoldfastError(
        "invalid",
        `scrypt with n ${n}, r ${r}, p ${p} takes ${size} bytes of memory; the limit is ${scryptSizeMax}: lower the cost`,
      );
    }
    return new Promise((resolve, reject) => {
      scrypt(passphrase, salt, keySize, { N: n, r, p, maxmem: size + 65_536 }, (error, key) => {
        if (error === null) return resolve(Uint8Array.from(key));
        reject(new HoldfastError("invalid", `cannot derive a key by scrypt: ${error.message}`, { cause: error }));
      });
    });
  }

  #prepare(key: Uint8Array): KeyObject {
    const index = this.#prepared.findIndex((prepared) => equalBytes(prepared.bytes, key));
    if (index === 0) return (this.#prepared[0] as PreparedKey).object;
    let prepared: PreparedKey | undefined;
    if (index > 0) [prepared] = this.#prepared.splice(index, 1);
    // The caller may use its array again, so the remembered key is a copy.
    prepared ??= { bytes: key.slice(), object: createSecretKey(key) };
    this.#prepared.unshift(prepared);
    if (this.#prepared.length > preparedKeyCountMax) this.#prepared.pop();
    return prepared.object;
  }
}

function checkSizes(key: Uint8Array, nonce: Uint8Array): void {
  if (key.length === keySize && nonce.length === nonceSize) return;
  throw new HoldfastError(
    "invalid",
    `AES-256-GCM takes a key of ${keySize} and a nonce of ${nonceSize} bytes, not ${key.length} and ${nonce.length}`,
  );
}
