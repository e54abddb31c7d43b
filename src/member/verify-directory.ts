/**
 * Reads the log of a data directory and reports every damaged place, without opening the store: for a store that
 * refuses to open, which is when a person needs to know most. Nothing is written.
 *
 * The caller holds no lock; the directory's lock is taken for as long as it lasts, so that no process writes meanwhile
 * (`conflict`, naming the holder, when one has it open).
 */
import { HoldfastError } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { verifyJournal } from "../log/index.ts";
import type { VerifyProgress } from "./service.ts";

/** Counts grow from step to step; each damage is told once. `notFound` where there is no log. */
export async function* verifyDirectory(
  env: Env,
  options: { readonly signal?: AbortSignal } = {},
): AsyncGenerator<VerifyProgress, void, undefined> {
  await checkExists(env);
  const lock = await env.disk.lock();
  try {
    let size = 0;
    let count = 0;
    for await (const report of verifyJournal(env, "log", options)) {
      size += report.size;
      count += report.count;
      yield { size, count, damages: report.damages, done: false };
    }
    yield { size, count, damages: [], done: true };
  } finally {
    await lock.release();
  }
}

/** Before the lock is taken, which would make the directory. */
async function checkExists(env: Env): Promise<void> {
  try {
    await env.disk.list("log");
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== "notFound") throw error;
    throw new HoldfastError("notFound", "there is no log in this directory", { cause: error });
  }
}
