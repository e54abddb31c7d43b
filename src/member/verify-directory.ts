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
import { entriesOf, raftDirectory } from "./storage.ts";
import { logDirectories } from "./store-log.ts";

/** Counts grow from step to step; each damage is told once. `notFound` where there is no log. */
export async function* verifyDirectory(
  env: Env,
  options: { readonly signal?: AbortSignal } = {},
): AsyncGenerator<VerifyProgress, void, undefined> {
  const directories = await directoriesOfLog(env);
  const lock = await env.disk.lock();
  try {
    let size = 0;
    let count = 0;
    for (const directory of directories) {
      for await (const report of verifyJournal(env, directory, options)) {
        size += report.size;
        count += report.count;
        yield { size, count, damages: report.damages, done: false };
      }
    }
    yield { size, count, damages: [], done: true };
  } finally {
    await lock.release();
  }
}

/** Of a member of a cluster, or of a store on its own. Looked for before the lock is taken, which would make the root. */
async function directoriesOfLog(env: Env): Promise<string[]> {
  const found: string[] = [];
  for (const directory of [raftDirectory, ...(await logDirectories(env))]) {
    if ((await entriesOf(env, directory)).length > 0) found.push(directory);
    if (directory === raftDirectory && found.length > 0) break;
  }
  if (found.length > 0) return found;
  throw new HoldfastError("notFound", "there is no log in this directory");
}
