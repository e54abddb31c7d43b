/** A store in memory and a client of it, for tests of what both must do alike. */
import type { TestContext } from "node:test";
import { connectStore, openStore, serveStore } from "../member/index.ts";
import type { LocalStore, Store } from "../member/index.ts";
import { memoryEnv } from "./fixture.suite.ts";

export interface StorePair {
  readonly env: ReturnType<typeof memoryEnv>;
  readonly local: LocalStore;
  readonly remote: Store;
}

/** With a cache so small that nearly every command meets a page that is not there. Closed at the test's end. */
export async function openPair(t: TestContext, seed = t.name): Promise<StorePair> {
  const env = memoryEnv(seed);
  const local = await openStore(env, { inMemory: true, cacheSizeMax: 65_536, checkpointLogSizeMin: 65_536 });
  const server = await serveStore(env, local, ["memory:store"]);
  const remote = await connectStore(env, "memory:store");
  t.after(async () => {
    await remote.close();
    await server.close({ graceMs: 0 });
    await local.close();
  });
  return { env, local, remote };
}

export const kinds = ["local", "remote"] as const;
