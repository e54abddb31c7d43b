/**
 * What the clients of a simulated cluster know, whatever happens to its members: the history of their calls, what their
 * watches delivered, and what they did with leases. Times are the simulation's own: nobody's clock has a say in them.
 *
 * 1. Every value that is written is unique, so that a read says which write it saw.
 */
import { History, LeaseChecker, WatchChecker } from "../check/index.ts";
import { driftMax } from "./faults.ts";

/** One watch from its beginning to its end, over as many members and connections as it took. */
export interface WatchNotes {
  readonly name: string;
  readonly prefix: string;
  readonly checker: WatchChecker;
  /** `corrupt`: by a member whose disk is damaged. */
  ended: "open" | "cancelled" | "trimmed" | "corrupt" | { readonly error: Error };
}

/** A read that asked for no more than what the member had. */
export interface LocalRead {
  readonly client: string;
  readonly endMs: number;
  readonly key: string;
  readonly record: { readonly value: string; readonly revision: number } | undefined;
}

export class Notes {
  readonly history = new History();
  readonly watches: WatchNotes[] = [];
  readonly localReads: LocalRead[] = [];
  readonly leases = new LeaseChecker({ driftMax: 2 * driftMax });
  /** That were put with a lease. */
  readonly leasedKeys: string[] = [];
  readonly #nowMs: () => number;
  #nextValue = 1;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  get nowMs(): number {
    return this.#nowMs();
  }

  /** A watch of the keys with a prefix begins. */
  watch(client: string, prefix: string, from: number): WatchNotes {
    const name = `the watch of ${client} on "${prefix}" from revision ${from}`;
    const checker = new WatchChecker({ name, from, wants: ({ key }) => key.startsWith(prefix) });
    const watch: WatchNotes = { name, prefix, checker, ended: "open" };
    this.watches.push(watch);
    return watch;
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
