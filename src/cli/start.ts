/**
 * `holdfast start`: runs one member, on its own or of a cluster, until SIGINT or SIGTERM, which stop it cleanly (the
 * leadership is handed over, calls under way finish, a checkpoint is written); a second signal stops it at once, which is
 * as safe, only that the next start replays more.
 */
import { resolve } from "node:path";
import type { Command } from "commander";
import type { Env } from "../base/index.ts";
import { ConsoleLogger, natsKind, nodeEnv } from "../host/index.ts";
import type { NodeEnvOptions } from "../host/index.ts";
import type { Member, MemberList } from "../member/index.ts";
import { bold, countText, dim, durationText, plural, printJson, printLine, remark } from "./output.ts";
import { listenDefault, memberOptionsOf } from "./start-options.ts";
import type { StartOptions } from "./start-options.ts";
import { explainOpening, parseCount, parseWhole } from "./target.ts";

/** `makeEnv` gives the doors of the member: the demo gives it a network that can be cut. */
export function addTo(command: Command, makeEnv: (options: NodeEnvOptions) => Env = nodeEnv): void {
  command
    .option("--data <dir>", "the data directory; made if it is missing", "./holdfast-data")
    .option(
      "--listen <address>",
      `where members and clients connect: host:port or ws:host:port, several by comma (default: as last time, or its own address in --peers, or "${listenDefault}")`,
    )
    .option("--name <name>", "the name of this member; needed with --peers and --join")
    .option("--peers <members>", "found a cluster of these, this one included: NAME=ADDRESS, several by comma")
    .option("--join <addresses>", "enter the cluster that one of these addresses belongs to")
    .option("--replace <name>", "with --join: take the place of this member when the data has been fetched")
    .option("--advertise <address>", "where others reach this member, if not at what it listens on")
    .option("--zone <zone>", "the zone that this member fails together with")
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
A directory that belongs to a cluster needs no more than --data from then on.

Examples:
  $ holdfast start
  $ holdfast start --data /var/lib/holdfast --listen 127.0.0.1:7420,ws:127.0.0.1:7421
  $ holdfast start --data ./a --name a --peers a=127.0.0.1:7421,b=127.0.0.1:7422,c=127.0.0.1:7423
  $ holdfast start --data ./d --name d --join 127.0.0.1:7421,127.0.0.1:7422 --listen 127.0.0.1:7424
  $ holdfast start --data ./e --name e --join 127.0.0.1:7421 --listen 127.0.0.1:7425 --replace b`,
    )
    .action((options: StartOptions) => start(options, makeEnv));
}

/** What ended the running of a member. */
interface Stop {
  readonly reason: string;
  readonly error?: unknown;
}

async function start(options: StartOptions, makeEnv: (options: NodeEnvOptions) => Env): Promise<void> {
  const startedMs = performance.now();
  const wanted = memberOptionsOf(options);
  const directory = resolve(options.data);
  const logger = new ConsoleLogger({ level: options.verbose === true ? "debug" : "info" });
  const env = makeEnv({ directory, logger });
  const say = (text: string) => {
    if (options.json !== true) remark(text);
  };
  const stopped = stopSignal();
  const { startMember } = await import("../member/index.ts");
  let member: Member;
  try {
    // While it waits for others, the logger says for whom.
    member = await startMember(env, { ...wanted, logs: [natsKind(env)], signal: stopped.signal });
  } catch (error) {
    if (stopped.signal.aborted) return say("Stopped before it served.");
    throw explainOpening(error, directory);
  }
  const status = await member.store.status();
  const list = await member.store.members.list();
  const readyMs = performance.now() - startedMs;
  if (options.json === true) {
    const { addresses } = member;
    const cluster = list.cluster === "" ? {} : { name: status.name, cluster: list.cluster };
    await printJson({ addresses, directory, revision: status.revision, readyMs, pid: process.pid, ...cluster });
  } else {
    await greet(member.addresses, directory, status, list, readyMs);
  }

  const failed = member.failed.then((error): Stop => ({ reason: "failure", error }));
  const stop = await Promise.race([stopped.stop, failed]);
  if (stop.error !== undefined) {
    await member.close({ graceMs: 0 }).catch(() => {});
    throw stop.error;
  }
  say(dim(`${stop.reason}: stopping …`));
  await member.close({ graceMs: 2_000 });
  say("Stopped cleanly.");
}

/** SIGINT and SIGTERM, also while the member waits for others; the second one ends the process. */
function stopSignal(): { readonly signal: AbortSignal; readonly stop: Promise<Stop> } {
  const controller = new AbortController();
  const stop = new Promise<Stop>((resolveStop) => {
    for (const name of ["SIGINT", "SIGTERM"] as const) {
      process.once(name, () => {
        process.once(name, () => process.exit(1));
        controller.abort();
        resolveStop({ reason: name });
      });
    }
  });
  return { signal: controller.signal, stop };
}

async function greet(
  addresses: readonly string[],
  directory: string,
  { revision, keyCount }: { readonly revision: number; readonly keyCount: number },
  list: MemberList,
  readyMs: number,
): Promise<void> {
  const [first = ""] = addresses;
  const endpoint = first === listenDefault ? "" : ` --endpoint ${first}`;
  const facts = [
    `data     ${directory}`,
    `holds    ${plural(keyCount, "key")} at revision ${countText(revision)}, ready in ${durationText(readyMs)}`,
    ...clusterFacts(list),
  ];
  await printLine(`${bold("Holdfast")} serves ${addresses.map((address) => bold(address)).join(", ")}
  ${facts.join("\n  ")}

Try, in another terminal:
  npx holdfast key put greeting hello${endpoint}
  npx holdfast key get greeting${endpoint}
  npx holdfast key watch --prefix ''${endpoint}

Ctrl-C stops it.`);
}

/** Which member this is, and of which cluster; nothing for a store on its own. */
function clusterFacts({ cluster, members, leader }: MemberList): string[] {
  if (cluster === "") return [];
  const self = members.find((member) => member.self);
  const leads = members.find(({ id }) => id === leader);
  const leading = leads === undefined ? "no leader yet" : leads.id === self?.id ? "the leader" : `${leads.name} leads`;
  const names = members
    .map(({ name }) => name)
    .toSorted()
    .join(", ");
  return [`member   ${self?.name ?? "?"}, ${self?.role ?? "?"}, of ${names}; ${leading}`];
}
