/**
 * Has the log say what root a snapshot has: proposes the one that this member has found and made durable, so that the
 * others compare it with theirs, and whoever takes over a state without having been there can fetch it. The primary does
 * so at once; the others when it has not for a while, since it may not have been there itself. Proposing twice does no harm.
 */
import type { Env, Timer } from "../../base/index.ts";
import { accepted, operation } from "../command.ts";
import type { Replica } from "../replica.ts";
import type { SnapshotView } from "./snapshot-view.ts";

const retryMs = 1_000;
/** How long members that are not the primary leave it to that one. */
const othersMs = 10_000;
/** Snapshots that one command seals. */
const sealCount = 256;

export class SnapshotKeeper {
  readonly #env: Pick<Env, "clock" | "logger">;
  readonly #replica: Replica;
  readonly #view: SnapshotView;
  readonly #unsubscribe: (() => void)[];
  readonly #closing = new AbortController();
  #timer: Timer | undefined;
  /** When the timer fires, on the monotonic clock. */
  #timerMs = Number.POSITIVE_INFINITY;
  #working: Promise<void> = Promise.resolve();

  constructor(env: Pick<Env, "clock" | "logger">, replica: Replica, view: SnapshotView) {
    this.#env = env;
    this.#replica = replica;
    this.#view = view;
    this.#unsubscribe = [replica.pins.onChange(() => this.#look()), replica.onPrimary(() => this.#look())];
    this.#look();
  }

  #look(): void {
    if (this.#replica.pins.toSeal().length > 0) this.#setTimer(this.#replica.isPrimary ? 0 : othersMs);
  }

  #setTimer(delayMs: number): void {
    if (this.#closing.signal.aborted) return;
    const atMs = this.#env.clock.monotonicMs() + delayMs;
    if (atMs >= this.#timerMs) return;
    this.#timer?.cancel();
    this.#timerMs = atMs;
    this.#timer = this.#env.clock.schedule(delayMs, () => {
      this.#timerMs = Number.POSITIVE_INFINITY;
      this.#working = this.#working.then(() => this.#seal());
    });
  }

  async #seal(): Promise<void> {
    const { signal } = this.#closing;
    const seals = this.#replica.pins.toSeal().slice(0, sealCount);
    if (seals.length === 0 || signal.aborted) return;
    const operations = seals.map(({ name, revision, root }) => {
      const value = { name, revision, rootHash: root.hash ?? new Uint8Array(0), count: root.count };
      return operation(this.#view, { operation: { case: "seal", value } });
    });
    try {
      accepted(await this.#replica.propose(operations, { signal }));
      // Their being sealed leads to another look, if more are left.
    } catch (error) {
      if (signal.aborted) return;
      this.#env.logger.log("warn", "sealing snapshots failed; it is tried again", { error: String(error) });
      this.#setTimer(retryMs);
    }
  }

  /** Does not wait for a proposal under way: the others that it may need may not be there. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    this.#timer?.cancel();
    await this.#working;
  }
}
