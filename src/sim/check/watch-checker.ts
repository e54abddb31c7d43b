/**
 * Is what a watch delivered exactly what happened? Every change of the keys that it asked for, in the order of revisions
 * and within one revision in the order of its command, from its start on: no gap, none twice, never back.
 *
 * 1. Told event by event, it throws at once when a watch goes back, repeats, delivers what nobody asked for, or comes with
 *    an event that a progress notice had said was delivered.
 * 2. `finish` is told all changes, and throws if one is missing or other than it was.
 */
import { cellsText } from "./operation.ts";
import { Violation } from "./violation.ts";

/** One change of one key; `value` undefined: it was deleted. */
export interface Change {
  readonly revision: number;
  readonly key: string;
  readonly value: string | undefined;
}

export interface WatchedKeys {
  /** For messages. */
  readonly name: string;
  /** The first revision of which events are wanted. */
  readonly from: number;
  /** Default: every change. */
  readonly wants?: (change: Change) => boolean;
}

export class WatchChecker {
  readonly #watched: Required<WatchedKeys>;
  readonly #events: Change[] = [];
  readonly #keysOfRevision = new Set<string>();
  #lastRevision = 0;
  /** Everything up to here has been delivered, says the latest notice. */
  #progress = 0;

  constructor({ wants = () => true, ...watched }: WatchedKeys) {
    this.#watched = { ...watched, wants };
  }

  get eventCount(): number {
    return this.#events.length;
  }

  /** The last revision that was delivered, or said to be. */
  get revision(): number {
    return Math.max(this.#lastRevision, this.#progress);
  }

  event(change: Change): void {
    const { from, wants } = this.#watched;
    const { revision, key } = change;
    const what = changeText(change);
    if (!wants(change)) this.#fail(`delivered ${what}, which it did not ask for`);
    if (revision < from) this.#fail(`delivered ${what}; it began at revision ${from}`);
    if (revision <= this.#progress) this.#fail(`delivered ${what} after the notice of progress to ${this.#progress}`);
    if (revision < this.#lastRevision) this.#fail(`went back from revision ${this.#lastRevision} to ${what}`);
    if (revision > this.#lastRevision) this.#keysOfRevision.clear();
    if (this.#keysOfRevision.has(key)) this.#fail(`delivered twice ${what}`);
    this.#keysOfRevision.add(key);
    this.#lastRevision = revision;
    this.#events.push(change);
  }

  progress(revision: number): void {
    if (revision < this.revision) this.#fail(`was told of progress to ${revision}; it was at ${this.revision} before`);
    this.#progress = revision;
  }

  /**
   * `changes` are all changes of the store in their order, at least from the watch's start on. `through`: the watch lasted
   * long enough to have delivered everything up to this revision.
   */
  finish(changes: Iterable<Change>, { through = 0 }: { readonly through?: number } = {}): void {
    const { from, wants } = this.#watched;
    // It may have ended in the middle of its last revision.
    const complete = Math.max(through, this.#progress, this.#lastRevision - 1);
    let count = 0;
    for (const change of changes) {
      if (change.revision < from || !wants(change)) continue;
      const event = this.#events[count];
      if (event === undefined) {
        if (change.revision > complete) return;
        this.#fail(`has not delivered ${changeText(change)}, though it got to revision ${complete}`);
      }
      if (!isSame(event, change)) this.#fail(`delivered ${changeText(event)} where there was ${changeText(change)}`);
      count += 1;
    }
    const extra = this.#events[count];
    if (extra !== undefined) this.#fail(`delivered ${changeText(extra)}, which never happened`);
  }

  #fail(what: string): never {
    throw new Violation("watch", `${this.#watched.name} ${what}`);
  }
}

function isSame(a: Change, b: Change): boolean {
  return a.revision === b.revision && a.key === b.key && a.value === b.value;
}

function changeText(change: Change): string {
  return `${cellsText([change])} of revision ${change.revision}`;
}
