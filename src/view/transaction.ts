/**
 * Optimistic transactions over all views: a function reads one state and collects operations; they are proposed as one
 * command behind checks that what was read is still so, and if it is not, the function runs again (Kung and Robinson,
 * "On Optimistic Methods for Concurrency Control", 1981). What it commits is serializable.
 */
import { HoldfastError, sleep } from "../base/index.ts";
import { CounterInTransaction } from "./counter/counters.ts";
import { finishTick } from "./cron/cron-state.ts";
import { guardTransaction } from "./lock/locks.ts";
import { operation, refusalError } from "./command.ts";
import type { Operation, Proposer } from "./command.ts";
import type { FileSource } from "./file/file-source.ts";
import { FileTransactions } from "./file/file-transaction.ts";
import type { KeySource } from "./key/key-source.ts";
import { KeyTransaction } from "./key/key-transaction.ts";
import { objectInTransaction } from "./object/object-transaction.ts";
import type { ObjectEnv } from "./object/objects.ts";
import { QueueInTransaction } from "./queue/queue-in-transaction.ts";
import { StreamInTransaction } from "./stream/stream-in-transaction.ts";
import { mapsOf } from "./map/map-transaction.ts";
import type { Views } from "./views.ts";
import type { TransactionContext, TransactionOptions, TransactionOutcome } from "./transaction-context.ts";
import { ViewTransaction } from "./view-transaction.ts";
import type { ViewSource } from "./view-source.ts";

export interface TransactionParts {
  readonly proposer: Proposer;
  readonly keys: KeySource;
  readonly files: FileSource;
  readonly source: ViewSource;
  readonly views: Views;
}

const backoffMinMs = 1;
const backoffMaxMs = 100;

export async function runTransaction<T>(
  env: ObjectEnv,
  parts: TransactionParts,
  body: (tx: TransactionContext) => T | Promise<T>,
  options: TransactionOptions = {},
): Promise<TransactionOutcome<T>> {
  const { attemptCountMax = 64, signal } = options;
  for (let attempt = 1; ; attempt++) {
    const revision = await parts.keys.revision({ signal });
    const keys = new KeyTransaction(parts.keys, revision, signal);
    const files = new FileTransactions(parts.files, revision, signal);
    const tx = new ViewTransaction(parts.source, parts.views.guard, revision, signal);
    let failure: HoldfastError;
    try {
      const value = await body({
        revision,
        keys,
        files: (bucket) => files.files(bucket),
        ...objectsOf(tx, parts.views, env),
      });
      const operations = operationsOf(parts.views, keys, files, tx);
      if (operations === undefined) return { value, revision };
      const outcome = await parts.proposer.propose(operations, { signal });
      if (outcome.ok) return { value, revision: outcome.revision };
      failure = refusalError(outcome);
      // What was stored before, for a file of this transaction, may be gone: running it again brings nothing back.
      if (outcome.code !== "conflict" || outcome.final === true) throw failure;
    } catch (error) {
      keys.abandon();
      files.abandon();
      tx.abandon();
      // The state that it reads may be compacted under it: then it starts from a newer one.
      if (!(error instanceof HoldfastError)) throw error;
      if (!keys.outdated(error) && !files.outdated(error) && !tx.outdated(error)) throw error;
      failure = error;
    }
    if (attempt >= attemptCountMax) {
      const what = `the transaction met a conflict ${attempt} times; the last: ${failure.message}`;
      throw new HoldfastError("conflict", what, { cause: failure });
    }
    const boundMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(attempt, 10));
    await sleep(env.clock, env.random.float() * boundMs, signal);
  }
}

/** What a transaction has of each asked view: the same object for the same name. */
function objectsOf(
  tx: ViewTransaction,
  views: Views,
  env: ObjectEnv,
): Pick<TransactionContext, "counter" | "queue" | "log" | "object" | "guard" | "finish" | "map" | "set" | "register"> {
  return {
    counter: (name) => tx.object(views.counter, name, () => new CounterInTransaction(tx, views.counter, name)),
    queue: (name) => tx.object(views.queue, name, () => new QueueInTransaction(tx, views.queue, name)),
    log: (name) => tx.object(views.stream, name, () => new StreamInTransaction(tx, views.stream, name)),
    object: (definition, key) => objectInTransaction(env, tx, views.object, definition, key),
    guard: (hold) => guardTransaction(tx, views.lock, hold),
    finish: (tick) => finishTick(tx, views, tick),
    ...mapsOf(tx, views.map),
  };
}

/** The command that commits it, what was read before what is written; undefined when nothing is. */
function operationsOf(
  { key: keyView, file: fileView }: Views,
  keys: KeyTransaction,
  files: FileTransactions,
  tx: ViewTransaction,
): Operation[] | undefined {
  const [ofKeys, ofFiles, ofViews] = [keys.finish(), files.finish(), tx.finish()];
  if (ofKeys.writes.length + ofFiles.writes.length + ofViews.writes.length === 0) return undefined;
  return [
    ...ofKeys.checks.map((one) => operation(keyView, one)),
    ...ofFiles.checks.map((one) => operation(fileView, one)),
    ...ofViews.checks,
    ...ofKeys.writes.map((one) => operation(keyView, one)),
    ...ofFiles.writes.map((one) => operation(fileView, one)),
    ...ofViews.writes,
  ];
}
