/** The conformance suite of the doors on the real machine: its clock, a directory of its own, every kind of address. */
import { createServer } from "node:net";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { doorsConformance } from "../base/doors.suite.ts";
import { makeAuthority } from "./certificates.suite.ts";
import { nodeEnv } from "./index.ts";

doorsConformance("Node.js", async () => {
  const directory = await mkdtemp(join(tmpdir(), "holdfast-doors-"));
  const authority = await makeAuthority("Holdfast test");
  const tls = { ca: authority.ca, ...(await authority.issue("member")), requestClientCertificate: true };
  return {
    env: nodeEnv({ directory, tls }),
    addresses: [
      "127.0.0.1:0",
      ...((await hasIpv6()) ? ["[::1]:0"] : []),
      "localhost:0",
      "tls:127.0.0.1:0",
      "ws:127.0.0.1:0",
      "wss:localhost:0",
    ],
    run: (promise) => promise,
    close: () => rm(directory, { recursive: true }),
  };
});

/** Whether this machine has the loopback address of IPv6: many containers do not. */
function hasIpv6(): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(0, "::1", () => server.close(() => resolve(true)));
  });
}
