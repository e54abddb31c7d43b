/**
 * Who may read an encrypted bucket. The bucket's data key, 32 random bytes, encrypts its chunks (blob/chunk-cipher.ts). The
 * settings of the bucket hold it wrapped: encrypted under a key that comes from a passphrase by scrypt (RFC 7914) or from a
 * key file. The store and whoever reads its disks see only that; which key is the right one shows in the tag of AES-GCM.
 *
 *   key from a passphrase: scrypt(NFC of the passphrase in UTF-8, salt, n, r, p), 32 bytes
 *   key from a key file:   HMAC-SHA-256(SHA-256(file), "holdfast bucket key file 1" salt)
 *   wrapped:               nonce:12 AES-256-GCM(key, nonce, data key), 60 bytes
 *
 * Changing the passphrase wraps the same data key anew: no chunk is written again, and whoever once had the data key keeps
 * it. The message stands in docs/files.md, "Encryption".
 */
import { bytes, concatBytes, embed, HoldfastError, message, oneOf, toHex, uint32, utf8Encode } from "../base/index.ts";
import type { Cipher, Env, Infer } from "../base/index.ts";

/** What opens an encrypted bucket: one of the two. */
export interface BucketSecret {
  /** Any text but the empty one; the same text in another Unicode form is the same passphrase. */
  readonly passphrase?: string | undefined;
  /** The contents of a key file, 32 bytes or more that nobody can guess: `head -c 32 /dev/urandom`. */
  readonly key?: Uint8Array | undefined;
}

type Doors = Pick<Env, "cipher" | "digest" | "random">;

const Scrypt = message("holdfast.file.Scrypt", { n: uint32(1), r: uint32(2), p: uint32(3), salt: bytes(4) });
const KeyFile = message("holdfast.file.KeyFile", { salt: bytes(1) });

export const BucketEncryption = message("holdfast.file.Encryption", {
  /** 1. */
  version: uint32(1),
  from: oneOf({ passphrase: embed(2, Scrypt), key: embed(3, KeyFile) }),
  wrapped: bytes(4),
});
type BucketEncryption = Infer<typeof BucketEncryption>;
type From = NonNullable<BucketEncryption["from"]>;

/** 64 MiB of memory and some 0.2 s of work for every guess. */
const cost = { n: 65_536, r: 8, p: 1 };
/** What a store may ask of a client: 1 GiB of memory, and 64 times the work. */
const costMax = { memory: 1_073_741_824, work: 64 * 65_536 * 8 };
const saltSize = 32;
const keyFileSizeMin = 32;
const nonceSize = 12;
const wrappedSize = nonceSize + 32 + 16;
const keyFileLabel = "holdfast bucket key file 1";

/** A new data key and what the bucket keeps of it. */
export async function makeEncryption(env: Doors, secret: BucketSecret): Promise<Uint8Array> {
  checkSecret(secret);
  return wrap(env, env.random.bytes(32), secret);
}

async function wrap(env: Doors, dataKey: Uint8Array, secret: BucketSecret): Promise<Uint8Array> {
  const salt = env.random.bytes(saltSize);
  const from: From =
    secret.passphrase === undefined
      ? { case: "key", value: { salt } }
      : { case: "passphrase", value: { ...cost, salt } };
  const key = await derive(env, from, secret);
  const nonce = env.random.bytes(nonceSize);
  const wrapped = concatBytes([nonce, cipherOf(env).encrypt(key, nonce, dataKey)]);
  return BucketEncryption.encode({ version: 1, from, wrapped });
}

export function cipherOf(env: Pick<Env, "cipher">): Cipher {
  if (env.cipher !== undefined) return env.cipher;
  throw new HoldfastError(
    "denied",
    "this environment cannot encrypt (it has no Cipher); use the bucket on another one",
  );
}

async function derive(env: Doors, from: From, { passphrase, key }: BucketSecret): Promise<Uint8Array> {
  const cipher = cipherOf(env);
  if (from.case === "passphrase") {
    const { salt, n, r, p } = from.value;
    return cipher.scrypt(utf8Encode((passphrase as string).normalize("NFC")), salt, { n, r, p });
  }
  const label = concatBytes([utf8Encode(keyFileLabel), from.value.salt]);
  return cipher.hmac(env.digest.sha256(key as Uint8Array), label);
}

/** `invalid` unless it is exactly one of the two and long enough. */
export function checkSecret({ passphrase, key }: BucketSecret): void {
  if ((passphrase === undefined) === (key === undefined)) {
    const given = passphrase === undefined ? "neither" : "both";
    throw new HoldfastError("invalid", `give a passphrase or a key for the bucket; ${given} was given`);
  }
  if (passphrase !== undefined) {
    if (typeof passphrase === "string" && passphrase.length > 0 && passphrase.isWellFormed()) return;
    throw new HoldfastError("invalid", "a passphrase is well-formed text that is not empty");
  }
  if (key instanceof Uint8Array && key.length >= keyFileSizeMin) return;
  const rule = `a key has at least ${keyFileSizeMin} bytes: head -c 32 /dev/urandom makes one`;
  throw new HoldfastError("invalid", key instanceof Uint8Array ? `the key is ${key.length} bytes; ${rule}` : rule);
}

function decoded(bucket: string, encryption: Uint8Array): BucketEncryption & { readonly from: From } {
  let stored: BucketEncryption | undefined;
  try {
    stored = BucketEncryption.decode(encryption);
  } catch {
    // Said below.
  }
  const { version = 0, from, wrapped } = stored ?? {};
  if (version > 1) {
    throw new HoldfastError(
      "invalid",
      `bucket ${bucket} is encrypted in a way of a newer version (${version}); update`,
    );
  }
  if (version === 1 && from !== undefined && wrapped?.length === wrappedSize && isBearable(from))
    return { version, from, wrapped };
  throw new HoldfastError("corrupt", `the encryption settings of bucket ${bucket} are damaged`);
}

/** A store that asks for too much would stop its clients. */
function isBearable(from: From): boolean {
  if (from.case === "key") return true;
  const { n, r, p } = from.value;
  const isPower = n >= 2 && (n & (n - 1)) === 0;
  return isPower && r >= 1 && p >= 1 && 128 * n * r <= costMax.memory && n * r * p <= costMax.work;
}

/** What opens the bucket; `none` when it is not encrypted. */
export function secretOf(bucket: string, encryption: Uint8Array): "none" | From["case"] {
  return encryption.length === 0 ? "none" : decoded(bucket, encryption).from.case;
}

/** The data key. `denied`, naming the bucket, when the secret is missing, of the other kind, or not the right one. */
export async function openEncryption(
  env: Doors,
  bucket: string,
  encryption: Uint8Array,
  secret: BucketSecret | undefined,
): Promise<Uint8Array> {
  const { from, wrapped } = decoded(bucket, encryption);
  const isNamed = from.case === "passphrase" ? "passphrase" : "key";
  if (secret?.[isNamed] === undefined) {
    const remedy = from.case === "passphrase" ? "give its passphrase (--passphrase-file)" : "give its key (--key-file)";
    throw new HoldfastError("denied", `bucket ${bucket} is encrypted: ${remedy}`);
  }
  checkSecret(secret);
  const key = await derive(env, from, secret);
  const dataKey = cipherOf(env).decrypt(key, wrapped.subarray(0, nonceSize), wrapped.subarray(nonceSize));
  if (dataKey?.length === 32) return dataKey;
  throw new HoldfastError("denied", `this is not the ${isNamed} of bucket ${bucket}`);
}

/** The same data key for another secret; `denied` when `from` is not the right one. */
export async function changeEncryption(
  env: Doors,
  bucket: string,
  encryption: Uint8Array,
  from: BucketSecret,
  to: BucketSecret,
): Promise<Uint8Array> {
  checkSecret(to);
  return wrap(env, await openEncryption(env, bucket, encryption, from), to);
}

/** Keys that were opened in this process, so that a passphrase is stretched once and not for every call. */
const ringSize = 64;

export class KeyRing {
  readonly #env: Doors;
  /** By the encryption settings and the secret, the newest last. */
  readonly #keys = new Map<string, Promise<Uint8Array>>();

  constructor(env: Doors) {
    this.#env = env;
  }

  /** As `openEncryption`. */
  open(bucket: string, encryption: Uint8Array, secret: BucketSecret | undefined): Promise<Uint8Array> {
    const { passphrase = "", key = new Uint8Array(0) } = secret ?? {};
    const text = utf8Encode(passphrase);
    const sizes = utf8Encode(`${encryption.length} ${text.length} `);
    const name = toHex(this.#env.digest.sha256(concatBytes([sizes, encryption, text, key])));
    const known = this.#keys.get(name);
    if (known !== undefined) return known;
    const opening = openEncryption(this.#env, bucket, encryption, secret);
    this.#keys.set(name, opening);
    // What failed names the bucket of this call, and may have failed for want of memory.
    opening.catch(() => this.#keys.delete(name));
    for (const oldest of this.#keys.keys()) {
      if (this.#keys.size <= ringSize) break;
      this.#keys.delete(oldest);
    }
    return opening;
  }
}
