/**
 * What one call puts: assembled from its parts, checked, and given to the store in lots. While a lot is being checked and
 * written the next one is received, and then the sender waits.
 *
 * All calls of a service together hold a bounded number of bytes: a call that would begin another blob beyond that waits
 * until the store has taken some. One that has begun a blob may finish it, and what a waiting call has whole is on its way to
 * the store, so that they cannot wait for each other. The bound is exceeded by at most one blob for each call.
 */
import { abortable, giveWay, HoldfastError, limits, Signal } from "../base/index.ts";
import type { Env, Infer } from "../base/index.ts";
import { checkPutStored } from "./check.ts";
import { openBlob } from "./stored-blob.ts";
import { StoredAssembly } from "./stored-parts.ts";
import type { StoredPart } from "./stored-parts.ts";
import type { NamedBlob } from "./store.ts";

/** So many bytes, or blobs, are checked and put together. */
const lotSize = 1_048_576;
const lotCount = 256;
/** Bytes in memory of what is being put, in all calls of a service. */
const heldSizeMax = 268_435_456;
const sliceMs = 4;

/** What the calls of one service hold together. */
export class HeldChunks {
  readonly #sizeMax: number;
  readonly #room = new Signal();
  #size = 0;

  constructor(sizeMax = heldSizeMax) {
    this.#sizeMax = sizeMax;
  }

  get isFull(): boolean {
    return this.#size >= this.#sizeMax;
  }

  add(size: number): void {
    this.#size += size;
  }

  remove(size: number): void {
    this.#size -= size;
    if (size > 0) this.#room.notify();
  }

  /** Resolves when it is not full; rejects when the signal aborts. */
  async room(signal: AbortSignal | undefined): Promise<void> {
    while (this.isFull) await abortable(this.#room.wait(), signal);
  }
}

export class ChunkIntake {
  readonly #store: { putStored(blobs: readonly NamedBlob[]): Promise<void> };
  readonly #check: (named: NamedBlob) => Promise<void>;
  readonly #held: HeldChunks;
  readonly #signal: AbortSignal | undefined;
  /** A part of a blob has come, and not yet its last. */
  #isInBlob = false;
  readonly #assembly = new StoredAssembly((what) => new HoldfastError("invalid", `a client that puts chunks ${what}`));
  #heldSize = 0;
  #lot: NamedBlob[] = [];
  #lotSize = 0;
  #keeping: Promise<void> | undefined;

  constructor(
    store: { putStored(blobs: readonly NamedBlob[]): Promise<void> },
    check: (named: NamedBlob) => Promise<void>,
    held: HeldChunks,
    signal?: AbortSignal,
  ) {
    this.#store = store;
    this.#check = check;
    this.#held = held;
    this.#signal = signal;
  }

  /** Resolves when more may come. */
  async take(parts: readonly Infer<typeof StoredPart>[]): Promise<void> {
    for (const part of parts) {
      if (!this.#isInBlob && this.#held.isFull) await this.#waitForRoom();
      this.#held.add(part.bytes.length);
      this.#heldSize += part.bytes.length;
      const whole = this.#assembly.take(part);
      this.#isInBlob = whole === undefined;
      if (whole === undefined) continue;
      const named = { hash: whole.first.hash.slice(), blob: whole.blob };
      checkPutStored(named);
      this.#lot.push(named);
      this.#lotSize += named.blob.bytes.length;
      if (this.#lotSize >= lotSize || this.#lot.length >= lotCount) await this.#flush();
    }
  }

  /** Resolves when everything is kept. */
  async end(): Promise<void> {
    this.#assembly.end();
    if (this.#lot.length > 0) await this.#flush();
    await this.#keeping;
  }

  /** The call is over, however it ended. */
  release(): void {
    this.#held.remove(this.#heldSize);
    this.#heldSize = 0;
  }

  /** What this call holds goes to the store first: the others may be waiting for that. */
  async #waitForRoom(): Promise<void> {
    if (this.#lot.length > 0) await this.#flush();
    await this.#held.room(this.#signal);
  }

  async #flush(): Promise<void> {
    await this.#keeping;
    const lot = this.#lot;
    const size = this.#lotSize;
    this.#lot = [];
    this.#lotSize = 0;
    const keeping = this.#keep(lot).finally(() => {
      const freed = Math.min(size, this.#heldSize);
      this.#heldSize -= freed;
      this.#held.remove(freed);
    });
    // Whoever waits for it next is told; until then it is nobody's.
    keeping.catch(() => {});
    this.#keeping = keeping;
  }

  async #keep(lot: readonly NamedBlob[]): Promise<void> {
    await Promise.all(lot.map((named) => this.#check(named)));
    await this.#store.putStored(lot);
  }
}

/** Checks blobs where it is called, one after another, and gives way to other work now and then. */
export class PlainCheck {
  readonly #env: Pick<Env, "clock" | "digest">;
  #last: Promise<void> = Promise.resolve();
  #sliceEndMs = 0;

  constructor(env: Pick<Env, "clock" | "digest">) {
    this.#env = env;
  }

  /** Rejects with `corrupt` unless the blob has its hash. */
  check(named: NamedBlob): Promise<void> {
    const checked = this.#last.then(() => this.#check(named));
    this.#last = checked.catch(() => {});
    return checked;
  }

  async #check({ hash, blob }: NamedBlob): Promise<void> {
    const { clock, digest } = this.#env;
    if (clock.monotonicMs() >= this.#sliceEndMs) {
      await giveWay(clock);
      this.#sliceEndMs = clock.monotonicMs() + sliceMs;
    }
    openBlob(digest, hash, blob, limits.blobSizeMax);
  }
}
