/**
 * Looks after the history of keys, on the primary of a store's members: compacts so that about `historyRevisions` revisions
 * stay readable, and gives the space of what was compacted back in small commands.
 */
import type { Env, Timer } from "../../base/index.ts";
import { accepted, operation } from "../command.ts";
import type { Replica } from "../replica.ts";
import type { KeyOperation, KeyResult } from "./key-operation.ts";
import { compactRevision } from "./key-view.ts";
import type { KeyView } from "./key-view.ts";

/** How often the revision is looked at. */
const intervalMs = 1_000;
/** Events that one command sweeps: a few milliseconds of work. */
const sweepCount = 256;

export class Compactor {
  readonly #env: Pick<Env, "clock" | "logger">;
  readonly #replica: Replica;
  readonly #view: KeyView;
  readonly #historyRevisions: number;
  #timer: Timer | undefined;
  #working: Promise<void> = Promise.resolve();
  /** The compact revision up to which everything is swept. */
  #swept = 0;
  readonly #closing = new AbortController();

  /** `historyRevisions` 0 keeps all history until somebody compacts. */
  constructor(env: Pick<Env, "clock" | "logger">, replica: Replica, view: KeyView, historyRevisions: number) {
    this.#env = env;
    this.#replica = replica;
    this.#view = view;
    this.#historyRevisions = historyRevisions;
    this.#watch();
  }

  #watch(): void {
    if (this.#closed) return;
    this.#timer = this.#env.clock.schedule(intervalMs, () => {
      // That another member does it is seen at the next look: a command too many does no harm.
      if (!this.#replica.isPrimary) return this.#watch();
      this.#working = this.#work()
        .catch((error: unknown) => {
          if (!this.#closed)
            this.#env.logger.log("warn", "compacting failed; it is tried again", { error: String(error) });
        })
        .then(() => this.#watch());
    });
  }

  get #closed(): boolean {
    return this.#closing.signal.aborted;
  }

  async #work(): Promise<void> {
    let compacted = await this.#replica.read(compactRevision);
    const wanted = this.#replica.revision - this.#historyRevisions;
    // A tenth more than asked for, so that it is done in steps worth while.
    if (this.#historyRevisions > 0 && wanted > compacted + this.#historyRevisions / 10) {
      await this.#propose({ operation: { case: "compact", value: { revision: wanted } } });
      compacted = wanted;
    }
    while (compacted > this.#swept && !this.#closed && this.#replica.isPrimary) {
      const result = await this.#propose({ operation: { case: "sweep", value: { limit: sweepCount } } });
      if (result.result?.case === "sweep" && result.result.value.swept < sweepCount) this.#swept = compacted;
    }
  }

  async #propose(body: KeyOperation): Promise<KeyResult> {
    const { signal } = this.#closing;
    const outcome = accepted(await this.#replica.propose([operation(this.#view, body)], { signal }));
    return outcome.results[0] as KeyResult;
  }

  /** Does not wait for a step under way: the others that it may need may not be there. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#timer?.cancel();
    await this.#working;
  }
}
