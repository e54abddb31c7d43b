/**
 * Long work and whoever looks at how it goes. The work does not wait for the looker, for others may wait until it is over;
 * so the looker gets how things stand when they ask, and not every step.
 */
import { Signal } from "../base/index.ts";

/** What has changed since the last call. */
export type Report<Progress> = (next: Partial<Progress>) => void;

/**
 * Begins the work at the first step of the iteration and gives, whenever something was reported, all of it as it is now. Ends as the
 * work does, after its last report. Leaving the loop aborts the work and waits for its end.
 */
export async function* follow<Progress>(
  first: Progress,
  signals: readonly (AbortSignal | undefined)[],
  work: (report: Report<Progress>, signal: AbortSignal) => Promise<void>,
): AsyncGenerator<Progress, void, undefined> {
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, ...signals.filter((each) => each !== undefined)]);
  const news = new Signal();
  const state = { progress: first, changed: false, over: false };
  const report: Report<Progress> = (next) => {
    state.progress = { ...state.progress, ...next };
    state.changed = true;
    news.notify();
  };
  const working = work(report, signal).finally(() => {
    state.over = true;
    news.notify();
  });
  working.catch(() => {});
  try {
    for (;;) {
      if (state.changed) {
        state.changed = false;
        yield state.progress;
      } else if (state.over) break;
      else await news.wait();
    }
    await working;
  } finally {
    stop.abort();
    await working.catch(() => {});
  }
}
