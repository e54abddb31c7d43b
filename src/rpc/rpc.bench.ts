/**
 * What a small call costs over TCP: calls a second, and the processor time of the server's and the client's process for
 * each, with 1, 64 and 1,000 calls in flight; and how fast a stream and large messages go. The server is a process of its
 * own. Medians of several rounds.
 *
 *   node src/rpc/rpc.bench.ts
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { bytes, message, uint64 } from "../base/index.ts";
import { nodeEnv } from "../host/index.ts";
import { contract, implement, RpcClient, RpcServer, serverStream, unary } from "./index.ts";

const Echo = message("bench.Echo", { key: bytes(1), value: bytes(2), number: uint64(3) });
const Pull = message("bench.Pull", { count: uint64(1), size: uint64(2) });
const Usage = message("bench.Usage", { microseconds: uint64(1) });
const Bench = contract("bench.Bench", {
  echo: unary(1, Echo, Echo),
  echoLater: unary(2, Echo, Echo),
  pull: serverStream(3, Pull, Echo),
  usage: unary(4, Pull, Usage),
});

function microseconds(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

async function serve(): Promise<void> {
  const service = implement(Bench, {
    echo: (request) => request,
    echoLater: async (request) => request,
    async *pull({ count, size }) {
      const value = new Uint8Array(size);
      for (let number = 1; number <= count; number++) yield { value, number };
    },
    usage: () => ({ microseconds: microseconds() }),
  });
  const server = new RpcServer(nodeEnv({ directory: "." }), [service]);
  const { address } = await server.listen("127.0.0.1:0");
  process.send?.(address);
  process.on("disconnect", () => process.exit());
}

interface Cost {
  readonly perSecond: number;
  readonly serverMicroseconds: number;
  readonly clientMicroseconds: number;
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}

async function measure(): Promise<void> {
  const child = fork(import.meta.filename, ["serve"]);
  const [address] = (await once(child, "message")) as [string];
  const client = new RpcClient(nodeEnv({ directory: "." }), address);
  const stub = client.use(Bench);
  const request = { key: new TextEncoder().encode("user/000012345"), value: new Uint8Array(16), number: 7 };

  const round = async (count: number, once: (count: number) => Promise<void>): Promise<Cost> => {
    const server = (await stub.usage({})).microseconds;
    const own = microseconds();
    const startedMs = performance.now();
    await once(count);
    const seconds = (performance.now() - startedMs) / 1_000;
    const clientMicroseconds = (microseconds() - own) / count;
    const serverMicroseconds = ((await stub.usage({})).microseconds - server) / count;
    return { perSecond: count / seconds, serverMicroseconds, clientMicroseconds };
  };
  const inFlight = (width: number, method: "echo" | "echoLater") => async (count: number) => {
    const worker = async () => {
      for (let index = 0; index < count / width; index++) await stub[method](request);
    };
    await Promise.all(Array.from({ length: width }, worker));
  };
  const cases: [name: string, count: number, once: (count: number) => Promise<void>][] = [
    ["small call, 1 in flight", 10_000, inFlight(1, "echo")],
    ["small call, 64 in flight", 100_000, inFlight(64, "echo")],
    ["small call, 64 in flight, async handler", 100_000, inFlight(64, "echoLater")],
    ["small call, 1,000 in flight", 100_000, inFlight(1_000, "echo")],
    [
      "message of a stream, 256 B",
      100_000,
      async (count) => {
        for await (const _ of stub.pull({ count, size: 256 }));
      },
    ],
    [
      "MiB of 1 MiB responses, 4 in flight",
      256,
      async (count) => {
        const large = { value: new Uint8Array(1_048_576) };
        const worker = async () => {
          for (let index = 0; index < count / 4; index++) await stub.echo(large);
        };
        await Promise.all(Array.from({ length: 4 }, worker));
      },
    ],
  ];
  console.log("                                             a second   server µs   client µs");
  for (const [name, count, once] of cases) {
    await once(Math.ceil(count / 4));
    const costs: Cost[] = [];
    for (let index = 0; index < 5; index++) costs.push(await round(count, once));
    const column = (pick: (cost: Cost) => number, digits: number) =>
      median(costs.map(pick)).toFixed(digits).padStart(12);
    const figures =
      column((cost) => cost.perSecond, 0) +
      column((cost) => cost.serverMicroseconds, 2) +
      column((cost) => cost.clientMicroseconds, 2);
    console.log(name.padEnd(41) + figures);
  }
  await client.close();
  child.disconnect();
}

await (process.argv[2] === "serve" ? serve() : measure());
