/**
 * The chunks of a store elsewhere, put and got in their stored form. Calls of one turn share messages: a thousand small
 * chunks put at once are a few messages, and so are a thousand that are asked for.
 *
 * 1. What is got is not verified, except its sizes: whoever opens it does that (`ChunkPipeline.open`).
 * 2. A put says at which revision the upload is that was last touched for, so that whichever member takes it is there.
 * 3. `sync` covers what the same life of the same member has answered before (`chunk-service.ts`). When another one
 *    answers, `generation` changes: whoever noted it before his first touch and finds another one when his sync has
 *    resolved does not know that his chunks are durable, and has to put them again.
 * 4. A call fails as rpc says, and is not repeated here; all that it does may be done twice. `timeout` when nothing has
 *    moved for `timeoutMs`, however long it takes as a whole.
 * 5. At most 4 puts and 4 gets are under way at once, each of about 4 MiB or 256 blobs; the rest waits.
 */
import { abortable, asHoldfastError, equalBytes, HoldfastError, throwIfAborted, toHex } from "../base/index.ts";
import type { Env, Init, Timer } from "../base/index.ts";
import type { RpcClient, Stub } from "../rpc/index.ts";
import { PartGatherer } from "./blob-parts.ts";
import { checkHash, checkPutStored } from "./check.ts";
import { ChunkService, touchCountMax } from "./chunk-service.ts";
import { StoredAssembly, storedPart } from "./stored-parts.ts";
import type { StoredPart } from "./stored-parts.ts";
import type { Hash, NamedBlob, StoredBlob } from "./store.ts";

const callCountMax = 4;
const callSize = 4_194_304;
const callBlobCount = 256;
const timeoutMsDefault = 30_000;

interface Waiter<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

interface Put extends Waiter<void> {
  readonly named: NamedBlob;
}

interface Get extends Waiter<StoredBlob | undefined> {
  readonly hash: Hash;
}

export interface RemoteChunksOptions {
  /** After so long without any progress a call fails with `timeout`. Default 30,000. */
  readonly timeoutMs?: number | undefined;
  /** Default: `ChunkService`. */
  readonly contract?: typeof ChunkService | undefined;
}

export class RemoteChunks {
  /** Whose chunks they are, for messages. */
  readonly name: string;
  readonly #clock: Env["clock"];
  readonly #stub: Stub<(typeof ChunkService)["methods"]>;
  readonly #timeoutMs: number;
  readonly #puts: Put[] = [];
  readonly #gets: Get[] = [];
  #putCount = 0;
  #getCount = 0;
  #scheduled = false;
  /** The latest revision that a touch named (2). */
  #atLeast = 0;
  #life: Uint8Array | undefined;
  #generation = 0;

  /** The client stays the caller's to close. */
  constructor(
    env: Pick<Env, "clock">,
    client: Pick<RpcClient, "use">,
    name: string,
    options: RemoteChunksOptions = {},
  ) {
    this.name = name;
    this.#clock = env.clock;
    this.#stub = client.use(options.contract ?? ChunkService);
    this.#timeoutMs = options.timeoutMs ?? timeoutMsDefault;
  }

  /** Changes when another member answers than before, or the same one after it was started again (3). */
  get generation(): number {
    return this.#generation;
  }

  /**
   * Which of the blobs are there and sound; those count as put now. Whoever answers has reached revision `atLeast`, and so
   * has whoever takes a put that is called from now on; a touch of no blobs only says that.
   */
  async touch(hashes: readonly Hash[], atLeast = 0, signal?: AbortSignal): Promise<readonly boolean[]> {
    this.#atLeast = Math.max(this.#atLeast, atLeast);
    const there: boolean[] = [];
    for (let begin = 0; begin < hashes.length; begin += touchCountMax) {
      const some = hashes.slice(begin, begin + touchCountMax);
      const options = { timeoutMs: this.#timeoutMs, ...(signal !== undefined && { signal }) };
      const response = await this.#stub.touch({ hashes: some, atLeast }, options);
      this.#answered(response.life);
      for (let index = 0; index < some.length; index++) {
        there.push(((response.there[index >>> 3] ?? 0) & (1 << (index & 7))) !== 0);
      }
    }
    return there;
  }

  /**
   * Resolves when all can be found. The store owns the arrays from now on. When `signal` aborts, what is under way goes
   * on. `corrupt` when one is not what its name says, and `exhausted` when the disk there is full: then others that were
   * put at the same time may fail with it, and are put again.
   */
  async putStored(blobs: readonly NamedBlob[], signal?: AbortSignal): Promise<void> {
    throwIfAborted(signal);
    for (const named of blobs) checkPutStored(named);
    const all = blobs.map((named) => {
      return new Promise<void>((resolve, reject) => this.#puts.push({ named, resolve, reject }));
    });
    this.#schedule();
    await abortable(Promise.all(all), signal);
  }

  /** As it is stored, not verified (1); undefined if it is absent or damaged there. The array is the caller's. */
  async getStored(hash: Hash, signal?: AbortSignal): Promise<StoredBlob | undefined> {
    throwIfAborted(signal);
    checkHash(hash);
    const found = new Promise<StoredBlob | undefined>((resolve, reject) => this.#gets.push({ hash, resolve, reject }));
    this.#schedule();
    return abortable(found, signal);
  }

  /** Makes durable what was put or found before this call (3). */
  async sync(signal?: AbortSignal): Promise<void> {
    const options = { timeoutMs: this.#timeoutMs, ...(signal !== undefined && { signal }) };
    this.#answered((await this.#stub.sync({}, options)).life);
  }

  #answered(life: Uint8Array): void {
    if (this.#life !== undefined && equalBytes(this.#life, life)) return;
    if (this.#life !== undefined) this.#generation += 1;
    this.#life = life.slice();
  }

  /** Calls begin at the end of the turn, with all that is asked for until then. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#clock.defer(() => {
      this.#scheduled = false;
      this.#begin();
    });
  }

  #begin(): void {
    while (this.#puts.length > 0 && this.#putCount < callCountMax) {
      this.#putCount += 1;
      void this.#put(this.#puts.splice(0, countOf(this.#puts))).then(() => {
        this.#putCount -= 1;
        this.#begin();
      });
    }
    while (this.#gets.length > 0 && this.#getCount < callCountMax) {
      this.#getCount += 1;
      void this.#get(this.#gets.splice(0, callBlobCount)).then(() => {
        this.#getCount -= 1;
        this.#begin();
      });
    }
  }

  async #put(puts: readonly Put[]): Promise<void> {
    const stall = new Stall(this.#clock, this.#timeoutMs);
    try {
      const { signal } = stall;
      const response = await this.#stub.put(putMessages(puts, this.#atLeast, stall), { signal, timeoutMs: Infinity });
      this.#answered(response.life);
      for (const { resolve } of puts) resolve();
    } catch (error) {
      for (const { reject } of puts) reject(asHoldfastError(error));
    } finally {
      stall.end();
    }
  }

  async #get(gets: readonly Get[]): Promise<void> {
    const stall = new Stall(this.#clock, this.#timeoutMs);
    const assembly = new StoredAssembly((what) => this.#corrupt(what));
    let next = 0;
    try {
      const hashes = gets.map(({ hash }) => hash);
      for await (const { parts } of this.#stub.get({ hashes }, { signal: stall.signal })) {
        stall.heard();
        for (const part of parts) {
          const whole = assembly.take(part);
          if (whole === undefined) continue;
          const { index } = whole.first;
          if (index < next || index >= gets.length) {
            throw this.#corrupt(`sent blob ${index} of ${gets.length} where blob ${next} may come next`, hashes[index]);
          }
          for (; next < index; next++) gets[next]?.resolve(undefined);
          gets[next++]?.resolve(whole.blob);
        }
      }
      assembly.end();
      for (; next < gets.length; next++) gets[next]?.resolve(undefined);
    } catch (error) {
      for (; next < gets.length; next++) gets[next]?.reject(asHoldfastError(error));
    } finally {
      stall.end();
    }
  }

  #corrupt(what: string, hash?: Hash): HoldfastError {
    const blob = hash === undefined ? "" : ` (blob ${toHex(hash)})`;
    return new HoldfastError("corrupt", `${this.name} ${what}${blob}; ask another member for it`);
  }
}

/** How many of these go into one call. */
function countOf(puts: readonly Put[]): number {
  let size = 0;
  let count = 0;
  for (const { named } of puts) {
    size += named.blob.bytes.length;
    if (count > 0 && (size > callSize || count >= callBlobCount)) break;
    count += 1;
  }
  return count;
}

function* putMessages(
  puts: readonly Put[],
  revision: number,
  stall: Stall,
): Generator<{ readonly atLeast: number; readonly parts: Init<typeof StoredPart>[] }, void, undefined> {
  const gatherer = new PartGatherer<Init<typeof StoredPart>>();
  let atLeast = revision;
  const message = (parts: Init<typeof StoredPart>[]) => {
    // The one before has left.
    stall.heard();
    const whole = { atLeast, parts };
    atLeast = 0;
    return whole;
  };
  for (const { named } of puts) {
    for (const parts of gatherer.add(named.blob.bytes, storedPart(named.blob, { hash: named.hash }))) {
      yield message(parts);
    }
  }
  for (const parts of gatherer.rest()) yield message(parts);
}

/** Ends a call in which nothing moves. */
class Stall {
  readonly #clock: Env["clock"];
  readonly #timeoutMs: number;
  readonly #controller = new AbortController();
  #heardMs: number;
  #timer: Timer | undefined;

  constructor(clock: Env["clock"], timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#heardMs = clock.monotonicMs();
    this.#wait(timeoutMs);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  heard(): void {
    this.#heardMs = this.#clock.monotonicMs();
  }

  end(): void {
    this.#timer?.cancel();
  }

  #wait(delayMs: number): void {
    this.#timer = this.#clock.schedule(delayMs, () => {
      const leftMs = this.#heardMs + this.#timeoutMs - this.#clock.monotonicMs();
      if (leftMs > 0) return this.#wait(leftMs);
      this.#controller.abort(new HoldfastError("timeout", `nothing has moved for ${this.#timeoutMs} ms`));
    });
  }
}
