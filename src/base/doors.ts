/**
 * The doors to the world. Everything that a pure layer needs from outside comes through an `Env`, always its first
 * parameter. `host/` opens the real doors for Node.js, `sim/` opens simulated ones from a seed; one conformance suite
 * (`doors.suite.ts`) runs on both.
 */

/** Time. In a simulation both readings and all timers belong to the simulator. */
export interface Clock {
  /** Milliseconds since the Unix epoch as this machine believes; may jump either way. Whole number. */
  wallMs(): number;
  /** Milliseconds from an arbitrary start; never goes back. May have a fraction. */
  monotonicMs(): number;
  /**
   * Calls `run` once, not before `delayMs` (≥ 0) of monotonic time have passed, and never inside this call. Timers due
   * at the same moment run in the order in which they were set. An exception in `run` is a bug and stops the process.
   */
  schedule(delayMs: number, run: () => void): Timer;
  /**
   * Calls `run` once, soon, after input and output that is ready has been handled. It is how long work gives way:
   * a slice of a few milliseconds, then `defer`.
   */
  defer(run: () => void): void;
}

export interface Timer {
  /** Makes sure that the timer does not run (again no error if it has). */
  cancel(): void;
}

/** Randomness: cryptographic in `host/`, from the seed in `sim/`. */
export interface Random {
  /** A whole number from 0 to 2^32 - 1, uniform. */
  uint32(): number;
  /** A number from 0 (included) to 1 (excluded), uniform. */
  float(): number;
  /** `size` random bytes in a new array. */
  bytes(size: number): Uint8Array;
}

/**
 * A file system directory tree, as far as Holdfast uses one. Paths are relative to the root that the disk was made
 * with, use `/`, and never contain `..`.
 *
 * Failures are `HoldfastError`s: `notFound`, `exists`, `exhausted` (no space), `denied` (permissions, read-only), else
 * `unavailable` (input/output error). After a failed durable write or sync the content of the file is unknown: the
 * caller must not retry it.
 */
export interface Disk {
  /**
   * Opens a file. `read` needs an existing file and refuses writes; `write` creates it if it is missing. A file opened
   * with `durable: true` makes every `write` durable before it resolves (O_DSYNC): contents and size, but not the
   * directory entry, for which there is `syncDirectory`.
   */
  open(path: string, mode: "read" | "write", options?: { readonly durable?: boolean }): Promise<DiskFile>;
  /** Names (not paths) of the entries of a directory, sorted by code unit. An absent directory is `notFound`. */
  list(directory: string): Promise<string[]>;
  /** Creates a directory and its parents; none of it is an error if present. */
  makeDirectory(directory: string): Promise<void>;
  /** Atomic; replaces `to` if it exists. Durable after `syncDirectory` of the parent (both parents if they differ). */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; `notFound` if absent. */
  remove(path: string): Promise<void>;
  /** Makes creations, renames and removals in this directory durable. */
  syncDirectory(directory: string): Promise<void>;
  /**
   * Takes the exclusive lock on the whole disk root for this process; it ends with `release` or with the process,
   * however that ends. Taken by another process or in this one: `conflict`, and the message names the holder.
   */
  lock(): Promise<DiskLock>;
}

export interface DiskLock {
  release(): Promise<void>;
}

/** An open file. Calls may overlap; writes to ranges that overlap must not be in flight together. */
export interface DiskFile {
  readonly path: string;
  /** Current size in bytes. */
  size(): Promise<number>;
  /**
   * Writes the buffers one after another from `offset` (whole, ≥ 0), in one system call where the system allows.
   * Resolves when all bytes are written, and with a durable file when they are durable. The buffers must not be
   * changed before that.
   */
  write(buffers: readonly Uint8Array[], offset: number): Promise<void>;
  /** Reads up to `size` bytes from `offset`; fewer only at the end of the file. The array is the caller's. */
  read(offset: number, size: number): Promise<Uint8Array>;
  /** Makes everything written so far durable. */
  sync(): Promise<void>;
  /** Cuts or extends (with zeros) to `size` bytes. Durable after `sync`. */
  truncate(size: number): Promise<void>;
  /** Idempotent. Does not sync. */
  close(): Promise<void>;
}

/**
 * Byte streams between processes. An address is `host:port` for TCP, `tls:host:port`, `ws:host:port`, `wss:host:port`,
 * `memory:name`; each net says which of these it serves and refuses others with `invalid`.
 */
export interface Net {
  /** Listens; `accept` is called once for every connection. `port` 0 picks a free port. */
  listen(address: string, accept: (connection: Connection) => void): Promise<Listener>;
  /** Connects; `unavailable` when nobody answers, `cancelled` when `signal` aborts first. */
  connect(address: string, options?: { readonly signal?: AbortSignal }): Promise<Connection>;
}

export interface Listener {
  /** The address with the real port. */
  readonly address: string;
  /** Stops listening; open connections go on. */
  close(): Promise<void>;
}

/**
 * One ordered, reliable byte stream each way, with back-pressure. Push style, since a promise a chunk would cost more
 * than the chunk. `start` is called exactly once, before which nothing is delivered.
 */
export interface Connection {
  /** Who is at the other end, for messages: `127.0.0.1:51234`. */
  readonly peer: string;
  start(handlers: ConnectionHandlers): void;
  /**
   * Sends the buffers in order; the connection owns them from now on: they must not be changed. False when more than
   * the high-water mark is waiting: send on, but rather wait for `drained`.
   */
  write(buffers: readonly Uint8Array[]): boolean;
  /** Stops delivering data until `resume`; what is in flight stays with the system and slows the sender. */
  pause(): void;
  resume(): void;
  /** Sends what was written, then closes. `closed` is called once both sides are done. */
  end(): void;
  /** Closes at once; what was not yet sent is lost. `closed` is called with `error` if one is given. */
  destroy(error?: Error): void;
}

export interface ConnectionHandlers {
  /** Bytes in order. The array is only valid during the call unless it is copied. */
  data(bytes: Uint8Array): void;
  /** The write queue fell below the low-water mark after a `write` returned false. */
  drained(): void;
  /** Last call of all, exactly once: the stream is over, with the error that ended it if one did. */
  closed(error?: Error): void;
}

/** Checksums, hashes and compression: fast native code in `host/`, plain code in `sim/` and browsers. */
export interface Digest {
  /** SHA-256, 32 bytes (FIPS 180-4). */
  sha256(bytes: Uint8Array): Uint8Array;
  /** CRC-32 as in zlib (IEEE 802.3, reflected), continued from `initial`. An unsigned 32-bit number. */
  crc32(bytes: Uint8Array, initial?: number): number;
  /** Compresses as one zstd frame (RFC 8878), or undefined where this door cannot compress. */
  compress(bytes: Uint8Array): Uint8Array | undefined;
  /** The inverse, refusing (`corrupt`) what is damaged or would exceed `sizeMax` bytes before allocating it. */
  decompress(bytes: Uint8Array, sizeMax: number): Uint8Array;
}

/** Encryption, for buckets whose files only their owners can read. Keys are 32 bytes. */
export interface Cipher {
  /** HMAC-SHA-256 (RFC 2104), 32 bytes. */
  hmac(key: Uint8Array, bytes: Uint8Array): Uint8Array;
  /** AES-256-GCM (NIST SP 800-38D): the ciphertext followed by the 16 bytes of the tag. `nonce` is 12 bytes. */
  encrypt(key: Uint8Array, nonce: Uint8Array, bytes: Uint8Array): Uint8Array;
  /** The inverse; undefined when the tag is wrong. */
  decrypt(key: Uint8Array, nonce: Uint8Array, bytes: Uint8Array): Uint8Array | undefined;
  /** A key of 32 bytes from a passphrase by scrypt (RFC 7914). Off the event loop where that is possible. */
  scrypt(
    passphrase: Uint8Array,
    salt: Uint8Array,
    cost: { readonly n: number; readonly r: number; readonly p: number },
  ): Promise<Uint8Array>;
}

/** Where structured log lines go. `fields` hold plain values. Quiet by default in the library. */
export interface Logger {
  log(level: "debug" | "info" | "warn" | "error", message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** Watches over code that must be deterministic, in development. */
export interface Determinism {
  /**
   * Runs it at once, while clocks, chance, timers, the network and files are refused to it: they throw. Answers the first
   * that it has called all the same, as `Date.now()`; undefined if none. `run` must not throw.
   */
  watch(run: () => void): string | undefined;
}

/** All doors together. */
export interface Env {
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  readonly net: Net;
  readonly digest: Digest;
  readonly logger: Logger;
  /** Absent where this door cannot encrypt: encrypted buckets are then refused. */
  readonly cipher?: Cipher | undefined;
  /** Absent in production, and where this door cannot watch. */
  readonly determinism?: Determinism | undefined;
}
