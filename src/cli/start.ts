/**
 * `holdfast start`: runs one member until SIGINT or SIGTERM, which stop it cleanly (calls under way finish, a
 * checkpoint is written); a second signal stops it at once, which is as safe, only that the next start replays more.
 */
import { resolve } from "node:path";
import type { Command } from "commander";
import { ConsoleLogger, nodeEnv } from "../host/index.ts";
import { bold, countText, dim, durationText, plural, printJson, printLine, remark, UsageError } from "./output.ts";
import { checkAddress, explainOpening, parseCount, parseWhole } from "./target.ts";

interface StartOptions {
  readonly data: string;
  readonly listen: string;
  readonly name?: string;
  readonly insecure?: boolean;
  readonly history: number;
  readonly cache: number;
  readonly verbose?: boolean;
  readonly json?: boolean;
}

export function addTo(command: Command): void {
  command
    .option("--data <dir>", "the data directory; made if it is missing", "./holdfast-data")
    .option(
      "--listen <address>",
      "where members and clients connect: host:port or ws:host:port, several by comma",
      "127.0.0.1:7420",
    )
    .option("--name <name>", "the name of this member in logs and status", "holdfast")
    .option("--insecure", "allow addresses that other machines can reach; whoever does may read and write all")
    .option(
      "--history <revisions>",
      "past revisions to keep for old reads and watches; 0 keeps all",
      parseWhole,
      100_000,
    )
    .option("--cache <megabytes>", "memory for tree pages", parseCount, 256)
    .option("--verbose", "log more")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      `
Examples:
  $ holdfast start
  $ holdfast start --data /var/lib/holdfast --listen 127.0.0.1:7420,ws:127.0.0.1:7421`,
    )
    .action(start);
}

async function start(options: StartOptions): Promise<void> {
  const startedMs = performance.now();
  const addresses = options.listen.split(",").map((address) => address.trim());
  for (const address of addresses) refuseOpenAddress(address, options.insecure === true);
  const directory = resolve(options.data);
  const logger = new ConsoleLogger({ level: options.verbose === true ? "debug" : "info" });
  const env = nodeEnv({ directory, logger });
  const { openStore, serveStore } = await import("../member/index.ts");
  const store = await openStore(env, {
    name: options.name ?? "holdfast",
    historyRevisions: options.history,
    cacheSizeMax: options.cache * 1_048_576,
  }).catch((error: unknown) => {
    throw explainOpening(error, directory);
  });
  const server = await serveStore(env, store, addresses).catch(async (error: unknown) => {
    await store.close();
    throw error;
  });
  const status = await store.status();
  const readyMs = performance.now() - startedMs;
  if (options.json === true) {
    await printJson({ addresses: server.addresses, directory, revision: status.revision, readyMs, pid: process.pid });
  } else {
    await greet(server.addresses, directory, status.revision, status.keyCount, readyMs);
  }

  const stop = await new Promise<{ readonly reason: string; readonly error?: unknown }>((resolveStop) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.once(signal, () => {
        process.once(signal, () => process.exit(1));
        resolveStop({ reason: signal });
      });
    }
    void store.failed.then((error) => resolveStop({ reason: "failure", error }));
  });
  if (stop.error !== undefined) {
    await server.close({ graceMs: 0 });
    await store.close().catch(() => {});
    throw stop.error;
  }
  if (options.json !== true) remark(dim(`${stop.reason}: stopping …`));
  // A watch has no end of its own: its client goes on at the next member, or at this one when it is back.
  store.localKeys.close();
  await server.close({ graceMs: 2_000 });
  await store.close();
  if (options.json !== true) remark("Stopped cleanly.");
}

async function greet(
  addresses: readonly string[],
  directory: string,
  revision: number,
  keyCount: number,
  readyMs: number,
): Promise<void> {
  const [first = ""] = addresses;
  const endpoint = first === "127.0.0.1:7420" ? "" : ` --endpoint ${first}`;
  await printLine(`${bold("Holdfast")} serves ${addresses.map((address) => bold(address)).join(", ")}
  data     ${directory}
  holds    ${plural(keyCount, "key")} at revision ${countText(revision)}, ready in ${durationText(readyMs)}

Try, in another terminal:
  npx holdfast key put greeting hello${endpoint}
  npx holdfast key get greeting${endpoint}
  npx holdfast key watch --prefix ''${endpoint}

Ctrl-C stops it.`);
}

/** Without TLS only this machine may reach a member, unless its owner says otherwise. */
function refuseOpenAddress(address: string, insecure: boolean): void {
  const { scheme, host } = checkAddress(address, "--listen");
  if (scheme === "tls" || scheme === "wss") {
    throw new UsageError(`--listen ${address}: the command does not serve TLS yet; put a proxy that does before it`);
  }
  if (insecure || /^(127\.\d+\.\d+\.\d+|localhost|::1)$/.test(host)) return;
  throw new UsageError(
    `--listen ${address} reaches beyond this machine without TLS; listen on 127.0.0.1, or add --insecure if everybody on that network may read and write`,
  );
}
