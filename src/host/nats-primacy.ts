/**
 * Which member does the chores of a log on NATS. A claim is a field of a message, so that the stream's order decides
 * between two: the last claim holds as long as its writer is heard. Its writer says so again when it has appended nothing
 * for a while. When it is released, or nobody is heard for twice as long as a claim lasts, whoever notices claims.
 *
 * Nothing relies on it for safety: two members may believe in it for moments.
 */
import type { Env, Timer } from "../base/index.ts";
import { claims } from "./nats-part.ts";
import type { NatsPart } from "./nats-part.ts";

/** How long a claim lasts that is not repeated. */
const claimMs = 6_000;
const checkMs = 1_000;

export class NatsPrimacy {
  readonly #env: Pick<Env, "clock">;
  readonly #writer: number;
  /** Appends a message without records. */
  readonly #say: () => void;
  readonly #listeners = new Set<{ readonly call: (isPrimary: boolean) => void }>();
  #holder = 0;
  #heardMs: number;
  #isPrimary = false;
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(env: Pick<Env, "clock">, writer: number, say: () => void) {
    this.#env = env;
    this.#writer = writer;
    this.#say = say;
    this.#heardMs = env.clock.monotonicMs();
  }

  start(): void {
    this.#check();
  }

  get isPrimary(): boolean {
    return this.#isPrimary;
  }

  onPrimary(listener: (isPrimary: boolean) => void): () => void {
    const entry = { call: listener };
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  /** What the next message of this writer says of it. */
  get claim(): number {
    if (this.#isClosed) return this.#holder === this.#writer ? claims.release : claims.none;
    return this.#holder === this.#writer || this.#isVacant ? claims.claim : claims.none;
  }

  /** Another's claim ends later than the other believes; after a release it is free at once. */
  get #isVacant(): boolean {
    return this.#holder === 0 || this.#silentMs > 2 * claimMs;
  }

  get #silentMs(): number {
    return this.#env.clock.monotonicMs() - this.#heardMs;
  }

  /** A message that is in the stream. */
  heard({ writer, claim }: NatsPart): void {
    const isFreed = claim === claims.release && writer === this.#holder;
    if (claim === claims.claim) this.#holder = writer;
    else if (isFreed) this.#holder = 0;
    if (writer === this.#holder) this.#heardMs = this.#env.clock.monotonicMs();
    this.#tell();
    // Not before it has started, nor after it has closed.
    if (isFreed && this.#timer !== undefined && !this.#isClosed) this.#say();
  }

  #tell(): void {
    const isPrimary = !this.#isClosed && this.#holder === this.#writer && this.#silentMs <= claimMs;
    if (isPrimary === this.#isPrimary) return;
    this.#isPrimary = isPrimary;
    for (const { call } of this.#listeners) call(isPrimary);
  }

  #check(): void {
    this.#tell();
    const isDue = this.#holder === this.#writer ? this.#silentMs > claimMs / 3 : this.#isVacant;
    if (isDue) this.#say();
    this.#timer = this.#env.clock.schedule(checkMs, () => this.#check());
  }

  /** Whether somebody should be told that it is given up: the next message does. */
  close(): boolean {
    this.#timer?.cancel();
    this.#isClosed = true;
    this.#tell();
    return this.#holder === this.#writer;
  }
}
