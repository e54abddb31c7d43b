/**
 * What the clients of a simulated cluster know, whatever happens to its members: the history of their calls, what their
 * watches delivered, and what they did with leases. Times are the simulation's own: nobody's clock has a say in them.
 *
 * 1. Every value that is written is unique, so that a read says which write it saw.
 */
import { History } from "../check/history.ts";

export interface SeenEvent {
  readonly atMs: number;
  readonly revision: number;
  readonly key: string;
  /** Undefined for a deletion. */
  readonly value: string | undefined;
}

/** One watch from its beginning to its end, over as many members and connections as it took. */
export interface WatchNotes {
  readonly client: string;
  readonly prefix: string;
  /** The first revision that it asked for. */
  readonly from: number;
  /** Events, and progress: everything up to the revision has been delivered. */
  readonly steps: (SeenEvent | { readonly progress: number })[];
  /** Everything up to here has been delivered, as far as the client can tell. */
  through: number;
  ended: "open" | "cancelled" | "trimmed" | { readonly error: Error };
}

/** A read that asked for no more than what the member had. */
export interface LocalRead {
  readonly client: string;
  readonly endMs: number;
  readonly key: string;
  readonly record: { readonly value: string; readonly revision: number } | undefined;
}

export interface LeaseNotes {
  readonly client: string;
  readonly lease: bigint;
  readonly ttlMs: number;
  readonly key: string;
  /** When the last call that gave it its full time was begun, of those that were answered. */
  aliveMs: number;
  /** When the client began to revoke it. */
  revokedMs: number | undefined;
}

export class Notes {
  readonly history = new History();
  readonly watches: WatchNotes[] = [];
  readonly localReads: LocalRead[] = [];
  readonly leases: LeaseNotes[] = [];
  readonly #nowMs: () => number;
  #nextValue = 1;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  get nowMs(): number {
    return this.#nowMs();
  }

  /** A text that no other value has (1). */
  value(client: string): string {
    return `${client}:${this.#nextValue++}`;
  }
}

/** A value made longer, as it goes into the store; and as it was. Histories have the short form. */
export function padded(value: string, size: number): string {
  return value.padEnd(size, ".");
}

export function unpadded(text: string): string {
  return text.replace(/\.+$/, "");
}
