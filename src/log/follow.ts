/** Reading a log on one's own pace: from memory where the newest batches are, from storage before that, then live. */
import { HoldfastError, position } from "../base/index.ts";
import type { Position, Signal } from "../base/index.ts";
import type { LogBatch } from "./engine.ts";
import type { RecentBatches } from "./recent.ts";

/** A log as its readers see it at any moment. */
export interface Followed {
  readonly recent: RecentBatches;
  /** Announces that any of what follows has changed. */
  readonly grown: Signal;
  /** The first position that can be read, and one past the last. */
  start(): number;
  end(): number;
  /** Batches from a position that is not in memory, from storage. */
  stored(from: Position): AsyncIterable<LogBatch>;
  /** The readers are to end. */
  isEnded(): boolean;
  /** Nothing will follow on what there is. */
  failure(): HoldfastError | undefined;
}

/** As `LogEngine.read` promises. */
export async function* follow(
  log: Followed,
  from: Position,
  signal: AbortSignal | undefined,
): AsyncGenerator<LogBatch, void, undefined> {
  const wake = () => log.grown.notify();
  signal?.addEventListener("abort", wake);
  try {
    let next = from;
    while (!isAborted(signal) && !log.isEnded()) {
      if (next < log.start()) {
        throw new HoldfastError(
          "trimmed",
          `position ${next} has been trimmed from the log; it begins at ${log.start()}`,
        );
      }
      const recent = log.recent.at(next);
      if (recent !== undefined) {
        yield recent;
        next = position(recent.position + recent.records.length);
      } else if (next < log.end()) {
        // Up to where memory goes on.
        for await (const batch of log.stored(next)) {
          yield batch;
          next = position(batch.position + batch.records.length);
          if (isAborted(signal) || log.recent.at(next) !== undefined) break;
        }
      } else {
        const failure = log.failure();
        if (failure !== undefined) throw failure;
        await log.grown.wait();
      }
    }
  } finally {
    signal?.removeEventListener("abort", wake);
  }
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}
