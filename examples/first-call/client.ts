/**
 * Asks the server for the square root of 50.
 *
 *   node examples/first-call/client.ts [port]
 */
import { nodeEnv } from "../../src/host/index.ts";
import { RpcClient } from "../../src/rpc/index.ts";
import { Calculator } from "./contract.ts";

const port = process.argv[2] ?? "7000";
const client = new RpcClient(nodeEnv({ directory: "." }), `127.0.0.1:${port}`);
const calculator = client.use(Calculator);

const { z, iterationCount } = await calculator.sqrt({ x: 50 });
console.log(`After ${iterationCount} iterations, z = ${z.toFixed(5)}`);

await client.close();
