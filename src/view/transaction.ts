/**
 * Optimistic transactions over all views: a function reads one state and collects operations; they are proposed as one
 * command behind checks that what was read is still so, and if it is not, the function runs again (Kung and Robinson,
 * "On Optimistic Methods for Concurrency Control", 1981). What it commits is serializable.
 */
import { HoldfastError, sleep } from "../base/index.ts";
import type { Env, Revision } from "../base/index.ts";
import { operation, refusalError } from "./command.ts";
import type { Operation, Proposer } from "./command.ts";
import type { KeySource } from "./key/key-source.ts";
import { KeyTransaction } from "./key/key-transaction.ts";
import type { KeyView } from "./key/key-view.ts";

export interface TransactionOptions {
  /** How often the function may run. Default 64; then `conflict`. */
  readonly attemptCountMax?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a transaction's function works with. Valid until the function returns. */
export interface TransactionContext {
  /** The revision of the state that it reads. */
  readonly revision: Revision;
  readonly keys: KeyTransaction;
}

export interface TransactionOutcome<T> {
  /** What the function returned the last time. */
  readonly value: T;
  /** Of the command; where nothing was written, of the state that was read. */
  readonly revision: Revision;
}

const backoffMinMs = 1;
const backoffMaxMs = 100;

export async function runTransaction<T>(
  env: Pick<Env, "clock" | "random">,
  parts: { readonly proposer: Proposer; readonly keys: KeySource; readonly keyView: KeyView },
  body: (tx: TransactionContext) => T | Promise<T>,
  options: TransactionOptions = {},
): Promise<TransactionOutcome<T>> {
  const { attemptCountMax = 64, signal } = options;
  for (let attempt = 1; ; attempt++) {
    const revision = await parts.keys.revision({ signal });
    const keys = new KeyTransaction(parts.keys, revision, signal);
    let failure: HoldfastError;
    try {
      const value = await body({ revision, keys });
      const { checks, writes } = keys.finish();
      if (writes.length === 0) return { value, revision };
      const operations: Operation[] = [...checks, ...writes].map((one) => operation(parts.keyView, one));
      const outcome = await parts.proposer.propose(operations, { signal });
      if (outcome.ok) return { value, revision: outcome.revision };
      failure = refusalError(outcome);
      if (outcome.code !== "conflict") throw failure;
    } catch (error) {
      keys.abandon();
      // The state that it reads may be compacted under it: then it starts from a newer one.
      if (!(error instanceof HoldfastError) || !keys.outdated(error)) throw error;
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
