/**
 * Serves square roots on 127.0.0.1, until it is interrupted.
 *
 *   node examples/first-call/server.ts [port]
 */
import { HoldfastError } from "../../src/base/index.ts";
import { nodeEnv } from "../../src/host/index.ts";
import { implement, RpcServer } from "../../src/rpc/index.ts";
import { Calculator } from "./contract.ts";

const iterationCountMax = 19;

const calculator = implement(Calculator, {
  /** Newton's iteration: each round moves z to where the tangent of z² - x meets zero. */
  sqrt({ x }) {
    if (!(x >= 0)) throw new HoldfastError("invalid", `x is ${x}; only numbers from 0 up have a real square root`);
    let z = 1;
    let iterationCount = 0;
    while (iterationCount < iterationCountMax) {
      const step = (z * z - x) / (2 * z);
      z -= step;
      iterationCount++;
      if (Math.abs(step) < 0.01) break;
    }
    return { z, iterationCount };
  },
});

const port = process.argv[2] ?? "7000";
const server = new RpcServer(nodeEnv({ directory: "." }), [calculator]);
const listener = await server.listen(`127.0.0.1:${port}`);
console.log(`Listening on ${listener.address}`);
process.once("SIGINT", () => void server.close());
process.once("SIGTERM", () => void server.close());
