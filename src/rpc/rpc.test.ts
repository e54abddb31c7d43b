/** The suite of rpc over every net there is: in memory, simulated, and real. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeAuthority } from "../host/certificates.suite.ts";
import { nextTurn, nodeEnv } from "../host/index.ts";
import { Simulator } from "../sim/index.ts";
import { MemoryNet } from "./index.ts";
import { rpcConformance } from "./rpc.suite.ts";

const largeSize = 16_777_216;

rpcConformance("memory net", async () => {
  const host = nodeEnv({ directory: "." });
  const env = { ...host, net: new MemoryNet(host.clock) };
  return {
    serverEnv: env,
    clientEnv: env,
    address: "memory:test",
    largeSize,
    run: (promise) => promise,
    close: async () => {},
  };
});

for (const seed of ["one", "two"]) {
  rpcConformance(`simulated network, seed ${seed}`, async () => {
    const simulator = new Simulator({ seed, drain: nextTurn, network: { splitChance: 0.05 } });
    return {
      serverEnv: simulator.machine("server").env,
      clientEnv: simulator.machine("client").env,
      address: "server:0",
      largeSize: 1_048_576,
      run: (promise) => simulator.run(promise),
      close: async () => {},
    };
  });
}

for (const address of ["127.0.0.1:0", "tls:127.0.0.1:0", "ws:127.0.0.1:0"]) {
  rpcConformance(address, async () => {
    const directory = await mkdtemp(join(tmpdir(), "holdfast-rpc-"));
    const authority = await makeAuthority("Holdfast test");
    const tls = { ca: authority.ca, ...(await authority.issue("member")), requestClientCertificate: true };
    const env = nodeEnv({ directory, tls });
    return {
      serverEnv: env,
      clientEnv: env,
      address,
      largeSize,
      run: (promise) => promise,
      close: () => rm(directory, { recursive: true }),
    };
  });
}
