/**
 * `holdfast demo`: three members on this machine under a live load, what kills, cuts off and loses them, and an account of
 * every operation. On a terminal it is a picture that moves, in a pipe plain lines. Exit status 1 when anything that was
 * acknowledged is lost, or anything happened twice.
 */
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { VerifyProgress } from "../member/index.ts";
import { DemoCluster } from "./demo/cluster.ts";
import type { Account } from "./demo/ledger.ts";
import { Load } from "./demo/load.ts";
import { founders, newcomer, play } from "./demo/script.ts";
import type { Act } from "./demo/script.ts";
import { Stage } from "./demo/stage.ts";
import { bold, countText, durationText, plural, printJson, printLine, table } from "./output.ts";
import { directoryEnv, interruptSignal, parseCount } from "./target.ts";

interface DemoOptions {
  readonly seconds: number;
  readonly ops: number;
  readonly json?: boolean;
}

const clientCount = 4;

export function addTo(command: Command): void {
  command
    .option(
      "--seconds <count>",
      "how long it takes, about: the time to look, besides what the faults take",
      parseCount,
      12,
    )
    .option("--ops <count>", "operations a second, over all clients, at most", parseCount, 2_000)
    .option("--json", "print the account as JSON")
    .addHelpText(
      "after",
      `
It makes temporary directories and listens on free ports of this machine; both are gone afterwards, also after Ctrl-C.

Examples:
  $ holdfast demo
  $ holdfast demo --seconds 60 --ops 500
  $ holdfast demo --json`,
    )
    .action(demo);
}

/** All that is known at the end. */
interface Ending {
  readonly seconds: number;
  readonly account: Account;
  readonly acts: readonly Act[];
  readonly longestPauseMs: number;
  readonly failures: Load["failures"];
  readonly logs: readonly { readonly member: string; readonly records: number; readonly damages: readonly string[] }[];
}

async function demo(options: DemoOptions): Promise<void> {
  const signal = interruptSignal();
  const stage = new Stage(options.json === true ? undefined : process.stdout);
  let ending: Ending;
  try {
    ending = await perform(options, stage, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new HoldfastError("cancelled", "the demo was stopped; its members and their directories are gone");
  } finally {
    stage.close();
  }
  const { account, logs } = ending;
  const clean = account.clean && logs.every(({ damages }) => damages.length === 0);
  if (options.json === true) await printJson(endingJson(ending, clean));
  else await printLine(endingText(ending));
  if (!clean) {
    throw new HoldfastError(
      "corrupt",
      "the account is not clean: this is a bug of Holdfast; please report it with what is above",
    );
  }
}

async function perform(options: DemoOptions, stage: Stage, signal: AbortSignal): Promise<Ending> {
  const env = directoryEnv(".");
  const startedMs = performance.now();
  const cluster = await DemoCluster.open(env, [...founders, newcomer], signal);
  let load: Load | undefined;
  try {
    stage.say("three members are starting");
    stage.show(cluster);
    await cluster.found(founders);
    const endpoints = cluster.endpointsOf(founders);
    load = await Load.start(env, { endpoints, clientCount, opsPerSecond: options.ops });
    stage.show(cluster, load);
    const say = (text: string) => stage.say(text);
    const acts = await play(cluster, load, { quietMs: options.seconds * 1_000, signal, say });
    say("the clients stop; everything is read back and compared");
    const account = await load.finish(signal);
    const { longestPauseMs, failures } = load;
    await load.close();
    stage.rest();
    await cluster.stop();
    const logs = [];
    for (const { name, directory, condition } of cluster.members) {
      if (condition !== "stopped") continue;
      say(`the log of ${name} is verified`);
      logs.push({ member: name, ...(await verified(directory)) });
    }
    return { seconds: (performance.now() - startedMs) / 1_000, account, acts, longestPauseMs, failures, logs };
  } catch (error) {
    // A member that ended by itself explains what the others say.
    throw cluster.trouble ?? error;
  } finally {
    stage.rest();
    await load?.close();
    await cluster.close();
  }
}

/** What `log verify --data` says of a directory. */
async function verified(directory: string): Promise<{ records: number; damages: string[] }> {
  const { verifyDirectory } = await import("../member/index.ts");
  const damages: string[] = [];
  let last: VerifyProgress | undefined;
  for await (const step of verifyDirectory(directoryEnv(directory))) {
    damages.push(...step.damages);
    last = step;
  }
  return { records: last?.count ?? 0, damages };
}

function endingJson({ seconds, account, acts, longestPauseMs, failures, logs }: Ending, clean: boolean): unknown {
  return { ...account, clean, longestPauseMs, seconds, acts, failures: Object.fromEntries(failures), logs };
}

function endingText({ seconds, account, acts, longestPauseMs, failures, logs }: Ending): string {
  const rows = [
    ["operations acknowledged", countText(account.acknowledged)],
    ["lost", countText(account.lost)],
    ["doubled", countText(account.doubled)],
    ["longest pause", durationText(longestPauseMs)],
    ["told that it may have happened", countText(account.unknown)],
    ["told that it failed", countText(account.refused)],
    ["reads, of them stale", `${countText(account.reads)}, ${countText(account.readsStale)}`],
    [
      "watched, of them missed, repeated, out of order",
      [account.watched, account.watchMissed, account.watchRepeated, account.watchDisordered].map(countText).join(", "),
    ],
    ...logs.map(({ member, records, damages }) => [
      `log of ${member}`,
      damages.length === 0 ? `${plural(records, "record")}, clean` : damages.join("; "),
    ]),
  ];
  const paused = acts.map(({ what, pauseMs }) => [durationText(pauseMs), what]);
  const told = [...failures].map(([code, { count, message }]) => `  ${code}, ${plural(count, "time")}: ${message}`);
  return `
${bold("The account")}, after ${durationText(seconds * 1_000)}

${table(rows)}

${bold("The longest wait of a client")}

${table(paused)}${told.length === 0 ? "" : `\n\n${bold("What clients were told")}\n\n${told.join("\n")}`}`;
}
