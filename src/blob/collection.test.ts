/** The suite of chunks and collection on every store of this layer. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nextTurn, NodeDigest, nodeEnv } from "../host/index.ts";
import { Simulator } from "../sim/index.ts";
import { collectionConformance } from "./collection.suite.ts";
import { MemoryBlobStore, PackBlobStore } from "./index.ts";

collectionConformance("memory", async () => ({
  store: new MemoryBlobStore(nodeEnv({ directory: tmpdir() })),
  run: (promise) => promise,
  turn: nextTurn,
  close: async () => {},
}));

collectionConformance("packs on Node.js", async () => {
  const directory = await mkdtemp(join(tmpdir(), "holdfast-chunks-"));
  const store = await PackBlobStore.open(nodeEnv({ directory }), "chunks");
  return {
    store,
    run: (promise) => promise,
    turn: nextTurn,
    close: async () => {
      await store.close();
      await rm(directory, { recursive: true });
    },
  };
});

collectionConformance("packs simulated, small packs", async () => {
  const simulator = new Simulator({ seed: "chunks", drain: nextTurn, digest: new NodeDigest() });
  const { env } = simulator.machine("a");
  const options = { packSizeMax: 65_536, fileCountMax: 2 };
  const store = await simulator.run(PackBlobStore.open(env, "chunks", options));
  return {
    store,
    run: (promise) => simulator.run(promise),
    turn: () => new Promise((resolve) => env.clock.schedule(0.05, resolve)),
    close: () => simulator.run(store.close()),
  };
});
