/** Rate limiters, as a user sees them. */
import { HoldfastError, sleep } from "../../base/index.ts";
import type { Clock } from "../../base/index.ts";
import { checkedName } from "../value.ts";
import { proposeOne } from "../view-source.ts";
import type { ViewSource } from "../view-source.ts";
import { rateProblem } from "./limiter-view.ts";
import type { LimiterView, Rate } from "./limiter-view.ts";

export interface RateOptions {
  /** How many are allowed in `perMs` milliseconds, evenly. Whole numbers from 1. */
  readonly permits: number;
  /** Default 1,000: `permits` a second. */
  readonly perMs?: number | undefined;
  /** How many may be taken at once after a rest. Default: `permits`. */
  readonly burst?: number | undefined;
}

export interface Taken {
  /** They were taken. If not, nothing was. */
  readonly allowed: boolean;
  /** Milliseconds until so many would be allowed, if nobody else takes any; 0 if they were taken. */
  readonly waitMs: number;
  /** How many more could be taken now. */
  readonly left: number;
}

/** How often something may happen in the whole cluster. All who use the same name should give the same rate. */
export class RateLimiter {
  readonly name: string;
  readonly #clock: Clock;
  readonly #source: ViewSource;
  readonly #view: LimiterView;
  readonly #rate: Rate;

  /** @internal */
  constructor(clock: Clock, source: ViewSource, view: LimiterView, name: string, options: RateOptions) {
    this.#clock = clock;
    this.#source = source;
    this.#view = view;
    this.name = checkedName(name, "rate limiter");
    const { permits, perMs = 1_000, burst = permits } = options;
    this.#rate = { permits, perMs, burst };
    this.#check(1);
  }

  #check(count: number): void {
    const problem = rateProblem({ count, rate: this.#rate });
    if (problem !== undefined) throw new HoldfastError("invalid", `the rate limiter ${this.name}: ${problem}`);
  }

  /** Takes so many, all or none. */
  async take(count = 1, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<Taken> {
    this.#check(count);
    const value = { name: this.name, count, rate: this.#rate };
    const { result } = await proposeOne(
      this.#source,
      this.#view,
      { operation: { case: "take", value } },
      options.signal,
    );
    return result;
  }

  /** Takes so many as soon as they are allowed. Who waits has no place in a queue: others may be quicker. */
  async wait(count = 1, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    for (;;) {
      const { allowed, waitMs } = await this.take(count, options);
      if (allowed) return;
      await sleep(this.#clock, waitMs, options.signal);
    }
  }

  /** What `take(1)` would be answered, taking nothing. */
  async peek(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<Taken> {
    return (await this.#source.ask(this.#view, { name: this.name, count: 1, rate: this.#rate }, options)).answer;
  }

  /** As if nothing had been taken. */
  async reset(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    const value = { name: this.name };
    await proposeOne(this.#source, this.#view, { operation: { case: "reset", value } }, options.signal);
  }
}
