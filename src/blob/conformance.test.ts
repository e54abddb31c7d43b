/** The conformance suite on every store of this layer. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nextTurn, nodeEnv } from "../host/index.ts";
import { Simulator } from "../sim/index.ts";
import { blobConformance } from "./conformance.suite.ts";
import { MemoryBlobStore, PackBlobStore } from "./index.ts";
import type { PackOptions } from "./pack-state.ts";

const variants: Record<string, PackOptions> = {
  "as it comes": {},
  "small packs, few files open": { packSizeMax: 65_536, fileCountMax: 2 },
  "not compressed": { compress: false },
};

blobConformance("memory", async () => ({
  store: new MemoryBlobStore(nodeEnv({ directory: tmpdir() })),
  run: (promise) => promise,
  close: async () => {},
}));

for (const [name, options] of Object.entries(variants)) {
  blobConformance(`packs on Node.js, ${name}`, async () => {
    const directory = await mkdtemp(join(tmpdir(), "holdfast-blobs-"));
    const store = await PackBlobStore.open(nodeEnv({ directory }), "blobs", options);
    return {
      store,
      run: (promise) => promise,
      close: async () => {
        await store.close();
        await rm(directory, { recursive: true });
      },
    };
  });

  blobConformance(`packs simulated, ${name}`, async () => {
    const simulator = new Simulator({ seed: name, drain: nextTurn });
    const store = await simulator.run(PackBlobStore.open(simulator.machine("a").env, "store/blobs", options));
    return {
      store,
      run: (promise) => simulator.run(promise),
      close: () => simulator.run(store.close()),
    };
  });
}
