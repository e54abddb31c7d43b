/**
 * The upload of this process: what keeps chunks from being collected until a name holds them. It is a lease in the log and
 * the revision at which it began; chunks that are put or found after that stay while the lease lives. All puts of a process
 * share one.
 *
 * 1. An upload has begun, and its revision is known, before anybody uses it.
 * 2. It ends here (`revoke`) only when nobody uses it. It may end without that when the store was out of reach for longer
 *    than a lease lives: then commits under it are refused, and `hasEnded` says why.
 * 3. All that is put under one went to one holder of chunks; when another one answers, it is no longer given out, and
 *    what is not yet durable under it is put again (`isIntact`).
 * 4. After `turnMs` of use a new one begins for those who come, so that collection, which waits for the oldest upload, is
 *    held up no longer than the longest put.
 *
 * | state     | how it begins                        | how it ends                                                   |
 * | --------- | ------------------------------------ | ------------------------------------------------------------- |
 * | beginning | `use`, when there is none: `#begin`  | applied: current; refused: forgotten, and the users told      |
 * | current   | it is applied                        | `turnMs` old, and a next one begins: old; idle: `#revoke`     |
 * | old       | a next one is current                | its last user leaves: `#revoke`                               |
 *
 * After a crash the lease ends by itself, `ttlMs` after it was last kept alive.
 */
import { abortable, HoldfastError, throwIfAborted } from "../base/index.ts";
import type { Revision, Timer } from "../base/index.ts";
import { operation } from "../view/index.ts";
import type { CommandOutcome, LeaseOperation, LeaseResult, Operation } from "../view/index.ts";
import type { FileParts } from "./file-parts.ts";

const ttlMs = 60_000;
const turnMs = 60_000;
/** How long an upload that nobody uses waits for the next put. */
const idleMs = 10_000;
/** How long chunks are kept for a caller who has uploaded them and names them nowhere. */
const heldMs = 600_000;
const tickMs = 5_000;
/** Closing waits for no longer than this for the store: a lease ends by itself too. */
const closeMs = 500;

/** One put's share in an upload. */
export interface UploadUse {
  readonly lease: bigint;
  readonly revision: Revision;
  /** The bytes are there: from now on it is released by itself after ten minutes. */
  hold(): void;
  /** Idempotent. */
  release(): void;
}

interface Use {
  heldSinceMs: number | undefined;
}

interface Upload {
  readonly lease: bigint;
  readonly revision: Revision;
  readonly startedMs: number;
  /** Of the chunks, when it began. */
  readonly generation: number | undefined;
  readonly uses: Set<Use>;
  aliveMs: number;
  idleSinceMs: number;
  ended: boolean;
}

export class Uploads {
  readonly #parts: Pick<FileParts, "env" | "source" | "view" | "leases" | "leaseView" | "chunks">;
  readonly #closing = new AbortController();
  /** Those whose lease is kept alive. */
  readonly #live = new Set<Upload>();
  #current: Upload | undefined;
  #beginning: Promise<Upload> | undefined;
  #timer: Timer | undefined;
  #renewing = false;

  constructor(parts: Pick<FileParts, "env" | "source" | "view" | "leases" | "leaseView" | "chunks">) {
    this.#parts = parts;
  }

  /** A share in an upload that has begun. Whoever takes it must release it. */
  async use(signal?: AbortSignal): Promise<UploadUse> {
    for (;;) {
      throwIfAborted(signal);
      this.#checkOpen();
      const upload = this.#usable() ?? (await abortable(this.#begin(), signal));
      // It may have ended while this waited for its turn.
      if (!upload.ended && this.isIntact(upload.lease)) return this.#share(upload);
    }
  }

  #checkOpen(): void {
    if (!this.#closing.signal.aborted) return;
    throw new HoldfastError("unavailable", "the store is closed; open it again");
  }

  #usable(): Upload | undefined {
    const current = this.#current;
    if (current === undefined || current.ended) return undefined;
    const isYoung = this.#nowMs - current.startedMs < turnMs;
    return isYoung && current.generation === this.#parts.chunks.generation ? current : undefined;
  }

  get #nowMs(): number {
    return this.#parts.env.clock.monotonicMs();
  }

  #share(upload: Upload): UploadUse {
    const use: Use = { heldSinceMs: undefined };
    upload.uses.add(use);
    return {
      lease: upload.lease,
      revision: upload.revision,
      hold: () => {
        use.heldSinceMs = this.#nowMs;
      },
      release: () => this.#release(upload, use),
    };
  }

  #release(upload: Upload, use: Use): void {
    if (!upload.uses.delete(use) || upload.uses.size > 0) return;
    upload.idleSinceMs = this.#nowMs;
    if (upload !== this.#current) this.#revoke([upload]);
  }

  /** All who come meanwhile share it; nobody's signal ends it. */
  #begin(): Promise<Upload> {
    this.#beginning ??= this.#propose().finally(() => {
      this.#beginning = undefined;
    });
    return this.#beginning;
  }

  async #propose(): Promise<Upload> {
    const { env, view, chunks } = this.#parts;
    for (let attempt = 1; ; attempt++) {
      const startedMs = this.#nowMs;
      const { generation } = chunks;
      // 52 random bits, as of any lease.
      const lease = BigInt(env.random.uint32()) * 1_048_576n + BigInt(env.random.uint32() % 1_048_575) + 1n;
      const begin = operation(view, { operation: { case: "beginUpload", value: { lease } } });
      const grant = this.#leaseOperation({ operation: { case: "grant", value: { lease, ttlMs } } });
      const outcome = await this.#send([grant, begin], this.#closing.signal);
      if (outcome.ok) return this.#begun({ lease, revision: outcome.revision, startedMs, generation });
      if (outcome.code !== "exists" || attempt === 3) throw new HoldfastError(outcome.code, outcome.message);
    }
  }

  #leaseOperation(body: LeaseOperation): Operation {
    return operation(this.#parts.leaseView, body);
  }

  #send(operations: readonly Operation[], signal: AbortSignal): Promise<CommandOutcome> {
    return this.#parts.source.propose(operations, { signal });
  }

  #begun(begun: Pick<Upload, "lease" | "revision" | "startedMs" | "generation">): Upload {
    const at = this.#nowMs;
    const upload = { ...begun, uses: new Set<Use>(), aliveMs: begun.startedMs, idleSinceMs: at, ended: false };
    const before = this.#current;
    this.#live.add(upload);
    this.#current = upload;
    if (before !== undefined && before.uses.size === 0) this.#revoke([before]);
    this.#setTimer();
    return upload;
  }

  #setTimer(): void {
    if (this.#timer !== undefined || this.#live.size === 0 || this.#closing.signal.aborted) return;
    this.#timer = this.#parts.env.clock.schedule(tickMs, () => {
      this.#timer = undefined;
      this.#tick();
      this.#setTimer();
    });
  }

  #tick(): void {
    const nowMs = this.#nowMs;
    const idle: Upload[] = [];
    const due: Upload[] = [];
    for (const upload of this.#live) {
      for (const use of upload.uses) {
        if (use.heldSinceMs !== undefined && nowMs - use.heldSinceMs >= heldMs) this.#release(upload, use);
      }
      if (upload.uses.size === 0 && nowMs - upload.idleSinceMs >= idleMs) idle.push(upload);
      else if (nowMs - upload.aliveMs >= ttlMs / 3) due.push(upload);
    }
    this.#revoke(idle);
    if (due.length > 0 && !this.#renewing) void this.#keepAlive(due);
  }

  /** What fails is tried at the next tick. That a lease has ended is only believed when the store says so. */
  async #keepAlive(uploads: readonly Upload[]): Promise<void> {
    this.#renewing = true;
    try {
      const sentMs = this.#nowMs;
      const leases = uploads.map(({ lease }) => lease);
      const renew = this.#leaseOperation({ operation: { case: "keepAlive", value: { leases } } });
      const outcome = await this.#send([renew], this.#closing.signal);
      const result = outcome.ok ? (outcome.results[0] as LeaseResult).result : undefined;
      if (result?.case !== "keepAlive") return;
      for (const [index, upload] of uploads.entries()) {
        if (result.value.ttlMs[index] === 0) this.#forget(upload);
        else upload.aliveMs = sentMs;
      }
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      this.#parts.env.logger.log("warn", "keeping an upload alive failed; it is tried again", { error: String(error) });
    } finally {
      this.#renewing = false;
    }
  }

  #forget(upload: Upload): void {
    upload.ended = true;
    this.#live.delete(upload);
    if (this.#current === upload) this.#current = undefined;
  }

  /** Nobody waits for it: what is not revoked ends by itself. */
  #revoke(uploads: readonly Upload[]): void {
    for (const upload of uploads) {
      if (!this.#live.has(upload)) continue;
      this.#forget(upload);
      this.#sendRevoke(upload, this.#closing.signal).catch(() => {});
    }
  }

  #sendRevoke({ lease }: Upload, signal: AbortSignal): Promise<CommandOutcome> {
    return this.#send([this.#leaseOperation({ operation: { case: "revoke", value: { lease } } })], signal);
  }

  /** To be asked after a sync: whether that has covered what was put under an upload that is in use. */
  isIntact(lease: bigint): boolean {
    for (const upload of this.#live) {
      if (upload.lease === lease) return upload.generation === this.#parts.chunks.generation;
    }
    // Its commit will tell.
    return true;
  }

  /** Whether an upload, whose commit was refused, has ended without our doing. */
  async hasEnded(lease: bigint, signal?: AbortSignal): Promise<boolean> {
    if ((await this.#parts.leases.info(lease, false, signal)) !== undefined) return false;
    for (const upload of this.#live) if (upload.lease === lease) this.#forget(upload);
    return true;
  }

  /** Ends the uploads; puts under way fail when they commit. Idempotent. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new HoldfastError("unavailable", "the store was closed meanwhile"));
    this.#timer?.cancel();
    await this.#beginning?.catch(() => {});
    const uploads = Array.from(this.#live);
    for (const upload of uploads) this.#forget(upload);
    if (uploads.length === 0) return;
    const late = new AbortController();
    const timer = this.#parts.env.clock.schedule(closeMs, () => late.abort());
    await Promise.allSettled(uploads.map((upload) => this.#sendRevoke(upload, late.signal)));
    timer.cancel();
  }
}
