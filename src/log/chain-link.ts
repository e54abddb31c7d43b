/**
 * One engine of a chain: where it begins in the chain, where it ends, and how far it was looked through for the record that
 * ends it. An engine that others append to is looked through by a reader of its own, when somebody first has to know.
 */
import { HoldfastError, position } from "../base/index.ts";
import type { Signal } from "../base/index.ts";
import type { LogBatch, LogEngine } from "./engine.ts";
import { decodeSuccessor } from "./successor.ts";
import type { Successor } from "./successor.ts";

/** What the links of one chain share. */
export interface ChainParts {
  /** Announces that a link was looked through further, or was found to end. */
  readonly changed: Signal;
  /** The chain is closing. */
  readonly closing: AbortSignal;
  /** A successor record has been found. */
  readonly onEnd: (link: ChainLink) => void;
}

export class ChainLink {
  readonly engine: LogEngine;
  readonly place: Successor;
  /** The chain's position of the engine's position 0. */
  readonly base: number;
  /** The engine's position of its successor record, and whom it names, once that is known. */
  end: { readonly at: number; readonly successor: Successor } | undefined;
  next: ChainLink | undefined;
  /** It is being trimmed away: notes name it no more. */
  isLeaving = false;
  /** It has been trimmed away. */
  isDropped = false;
  readonly #parts: ChainParts;
  /** Below this position of the engine there is no successor record. */
  #seen: number;
  #isScouted = false;
  #failure: unknown;

  constructor(engine: LogEngine, place: Successor, base: number, parts: ChainParts) {
    this.engine = engine;
    this.place = place;
    this.base = base;
    this.#parts = parts;
    this.#seen = engine.start();
  }

  get isShared(): boolean {
    return this.engine.capabilities.shared === true;
  }

  get seen(): number {
    return this.#seen;
  }

  /** Waits until an engine that others append to was looked through up to a position of it, or to its end. */
  async scoutTo(to: number): Promise<void> {
    while (this.end === undefined && this.#seen < to) {
      if (!this.#isScouted) {
        this.#isScouted = true;
        this.#failure = undefined;
        void this.#scout();
      }
      await this.#parts.changed.wait();
      if (this.end !== undefined || this.#seen >= to || this.#isScouted) continue;
      const cause = this.#failure;
      const why = cause instanceof Error ? cause.message : "the log is closed";
      throw new HoldfastError("unavailable", why, { maybe: true, cause });
    }
  }

  async #scout(): Promise<void> {
    try {
      do this.#seen = Math.max(this.#seen, this.engine.start());
      while ((await this.#read()) === "trimmed");
    } catch (error) {
      this.#failure = error;
    } finally {
      this.#isScouted = false;
      this.#parts.changed.notify();
    }
  }

  async #read(): Promise<"ended" | "trimmed"> {
    const { closing, changed } = this.#parts;
    try {
      for await (const batch of this.engine.read(position(this.#seen), { signal: closing })) {
        if (this.successorIn(batch) !== undefined) break;
        this.#seen = batch.position + batch.records.length;
        changed.notify();
      }
      return "ended";
    } catch (error) {
      // A member that was left behind goes on where the others are.
      const isBehind = error instanceof HoldfastError && error.code === "trimmed" && this.engine.start() > this.#seen;
      if (isBehind) return "trimmed";
      throw error;
    }
  }

  /** The index in the batch of the engine's first successor record. */
  successorIn(batch: LogBatch): number | undefined {
    for (let index = 0; index < batch.records.length; index++) {
      const at = batch.position + index;
      if (this.end !== undefined && at < this.end.at) continue;
      const successor = decodeSuccessor(batch.records[index] as Uint8Array);
      if (successor === undefined) continue;
      if (this.end === undefined) {
        this.end = { at, successor };
        this.#parts.changed.notify();
        this.#parts.onEnd(this);
      }
      return index;
    }
    return undefined;
  }
}
