/** Ports of loopback that nobody uses: members of a cluster have to know each other's before any of them listens. */
import { randomInt } from "node:crypto";
import { createServer } from "node:net";
import type { Server } from "node:net";

/** Below what systems give to who asks for any port: such a one would be given to somebody else in the next moment. */
const portMin = 10_000;
const portMax = 32_000;
const attemptCountMax = 1_000;

/** Free ports of 127.0.0.1, each another. Somebody else may take one before it is used, but not by chance. */
export async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = [];
  const ports: number[] = [];
  try {
    for (let attempt = 0; ports.length < count && attempt < attemptCountMax; attempt++) {
      const port = randomInt(portMin, portMax);
      const server = await listen(port);
      if (server === undefined) continue;
      servers.push(server);
      ports.push(port);
    }
    if (ports.length === count) return ports;
    throw new Error(`no ${count} ports from ${portMin} to ${portMax} of 127.0.0.1 are free`);
  } finally {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }
}

/** Undefined if somebody has the port. */
function listen(port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}
