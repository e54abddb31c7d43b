/** The memory net keeps the contract of the doors: the same suite as the real and the simulated net. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { doorsConformance } from "../base/doors.suite.ts";
import { nodeEnv } from "../host/index.ts";
import { MemoryNet } from "./index.ts";

doorsConformance("Node.js with the memory net", async () => {
  const directory = await mkdtemp(join(tmpdir(), "holdfast-memory-net-"));
  const host = nodeEnv({ directory });
  return {
    env: { ...host, net: new MemoryNet(host.clock) },
    addresses: ["memory:meeting"],
    run: (promise) => promise,
    close: () => rm(directory, { recursive: true }),
  };
});
