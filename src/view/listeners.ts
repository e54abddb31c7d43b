/** Who hears of what the views' operations have done. */
import type { Revision } from "../base/index.ts";
import type { Emission } from "./applier.ts";
import type { View } from "./view.ts";

export type Listener = (revision: Revision, events: readonly unknown[]) => void;

export class Listeners {
  readonly #listeners = new Map<number, Listener[]>();

  /** Until the function that it gives is called. */
  add(view: Pick<View, "id">, listener: Listener): () => void {
    const listeners = this.#listeners.get(view.id) ?? [];
    this.#listeners.set(view.id, [...listeners, listener]);
    return () => {
      const rest = (this.#listeners.get(view.id) ?? []).filter((other) => other !== listener);
      this.#listeners.set(view.id, rest);
    };
  }

  /** Of one command. */
  announce(at: Revision, emissions: readonly Emission[]): void {
    const [first] = emissions;
    if (first === undefined) return;
    if (emissions.every(({ view }) => view === first.view)) {
      const listeners = this.#listeners.get(first.view.id);
      if (listeners === undefined) return;
      const events = emissions.map(({ event }) => event);
      for (const listener of listeners) listener(at, events);
      return;
    }
    for (const view of new Set(emissions.map((emission) => emission.view))) {
      const events = emissions.filter((emission) => emission.view === view).map(({ event }) => event);
      for (const listener of this.#listeners.get(view.id) ?? []) listener(at, events);
    }
  }
}
