/** How fresh a read of a replica in this process is. */
import { throwIfAborted } from "../base/index.ts";
import type { ReadOptions } from "./key/key-source.ts";
import type { Replica } from "./replica.ts";

/** Resolves when the state here is as fresh as the reader wants it. */
export async function fresh(replica: Replica, { consistency, atLeast, signal }: ReadOptions): Promise<void> {
  throwIfAborted(signal);
  // The other members of the log may be out of reach, and the caller need not wait for them.
  if (atLeast !== undefined && atLeast > replica.revision) {
    await replica.reachRevision(atLeast, signal);
  } else if (consistency !== "local") await replica.linearize(signal);
  throwIfAborted(signal);
}
