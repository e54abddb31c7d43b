/**
 * Whole clusters in one process, from seeds (`src/sim/cluster/`): members, clients, machines, disks, network and faults. For
 * each seed that fails it prints what went wrong and how to run it again, then leaves out of its faults what the failure
 * does not need. At the end it says how much time was simulated. Exit status 1 if any seed failed.
 *
 *   npm run sim -- [--seed S] [--from 1] [--seeds 10] [--members 3] [--clients 3] [--minutes 1] [--every 2000] [--shrink 120]
 *   npm run sim -- --schedule FILE      runs exactly what a failing seed has left behind
 *   npm run sim -- store …              one store, power lost at every change of its disk (scripts/sim-store.ts)
 *
 * `--seed` runs one seed, any text; `--from` and `--seeds` run many. `--every` is the mean time between two faults in
 * milliseconds. `--shrink` is the most seconds that a failing schedule is made smaller; 0 leaves it as it is. `--trace`
 * prints every event of a seed that fails.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { describeFault } from "../src/sim/cluster/faults.ts";
import type { FaultKind, ScheduledFault } from "../src/sim/cluster/faults.ts";
import { ClusterRunError, runCluster } from "../src/sim/cluster/run.suite.ts";
import type { ClusterReport, ClusterRunOptions } from "../src/sim/cluster/run.suite.ts";
import { shrink } from "../src/sim/cluster/shrink.ts";

/** What has to be known to run a seed again; the content of a schedule's file. */
interface Kept {
  readonly seed: string;
  readonly members: number;
  readonly clients: number;
  readonly minutes: number;
  readonly every: number;
  readonly schedule: readonly ScheduledFault[];
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: "string" },
      from: { type: "string", default: "1" },
      seeds: { type: "string", default: "10" },
      members: { type: "string", default: "3" },
      clients: { type: "string", default: "3" },
      minutes: { type: "string", default: "1" },
      every: { type: "string", default: "2000" },
      shrink: { type: "string", default: "120" },
      schedule: { type: "string" },
      trace: { type: "boolean", default: false },
    },
  });
  const shared = {
    clients: number(values.clients),
    members: number(values.members),
    minutes: number(values.minutes),
    every: number(values.every),
  };
  const campaign = new Campaign(number(values.shrink), values.trace);
  if (values.schedule !== undefined) {
    const { schedule, ...kept } = JSON.parse(readFileSync(values.schedule, "utf8")) as Kept;
    await campaign.run(kept, schedule);
  } else if (values.seed !== undefined) {
    await campaign.run({ ...shared, seed: values.seed }, undefined);
  } else {
    const [from, count] = [number(values.from), number(values.seeds)];
    for (let seed = from; seed < from + count; seed++) await campaign.run({ ...shared, seed: String(seed) }, undefined);
  }
  campaign.close();
}

function number(text: string): number {
  const value = Number(text);
  if (text !== "" && value >= 0) return value;
  console.error(`"${text}" is no number; usage: npm run sim -- --seed S --members 5 --minutes 10`);
  process.exit(2);
}

class Campaign {
  readonly #shrinkMs: number;
  readonly #trace: boolean;
  readonly #startedMs = performance.now();
  readonly #faults = new Map<FaultKind, number>();
  #simulatedMs = 0;
  #runCount = 0;
  #callCount = 0;
  #eventCount = 0;
  readonly #failures: string[] = [];
  #seed = "";

  constructor(shrinkSeconds: number, trace: boolean) {
    this.#shrinkMs = 1_000 * shrinkSeconds;
    this.#trace = trace;
    // A promise that nobody looks after is a bug in whoever made it.
    process.on("unhandledRejection", (error) => {
      console.error(`seed ${this.#seed} FAILED: a rejection that nobody handled`, error);
      process.exit(1);
    });
  }

  async run(kept: Omit<Kept, "schedule">, schedule: readonly ScheduledFault[] | undefined): Promise<void> {
    this.#seed = kept.seed;
    const options: ClusterRunOptions = {
      seed: kept.seed,
      memberCount: kept.members,
      clientCount: kept.clients,
      durationMs: 60_000 * kept.minutes,
      faults: { everyMs: kept.every },
      wholeTrace: this.#trace,
      ...(schedule !== undefined && { schedule }),
    };
    const startedMs = performance.now();
    try {
      const report = await runCluster(options);
      this.#count(report);
      console.log(`${line(report)}, ${((performance.now() - startedMs) / 1_000).toFixed(1)} s`);
    } catch (error) {
      if (!(error instanceof ClusterRunError)) throw error;
      this.#runCount += 1;
      console.error(`FAILED ${error.message}`);
      console.error(this.#trace ? error.trace : `latest events:\n${error.trace.split("\n").slice(-15).join("\n")}`);
      const again = `npm run sim -- --seed ${kept.seed} --members ${kept.members} --clients ${kept.clients} --minutes ${kept.minutes} --every ${kept.every}`;
      console.error(`run it again with: ${again}`);
      this.#failures.push(`${again}    (${error.message.split("\n", 1).join("")})`);
      if (this.#shrinkMs > 0) await this.#shrink(kept, options, error);
    }
  }

  #count({ simulatedMs, calls, eventCount, faults }: ClusterReport): void {
    this.#runCount += 1;
    this.#simulatedMs += simulatedMs;
    this.#eventCount += eventCount;
    for (const count of Object.values(calls)) this.#callCount += count;
    for (const [kind, count] of faults) this.#faults.set(kind, (this.#faults.get(kind) ?? 0) + count);
  }

  /** Leaves out faults while it still fails, and keeps what is left in a file. */
  async #shrink(kept: Omit<Kept, "schedule">, options: ClusterRunOptions, first: ClusterRunError): Promise<void> {
    const endMs = performance.now() + this.#shrinkMs;
    let latest = first;
    let tries = 0;
    const fails = async (schedule: readonly ScheduledFault[]): Promise<boolean> => {
      tries += 1;
      try {
        await runCluster({ ...options, wholeTrace: false, schedule });
        return false;
      } catch (error) {
        if (!(error instanceof ClusterRunError)) throw error;
        latest = error;
        return true;
      }
    };
    const schedule = await shrink(first.schedule, fails, { goOn: () => performance.now() < endMs });
    const path = join(tmpdir(), `holdfast-sim-${kept.seed.replaceAll(/[^\w-]/g, "_")}.json`);
    writeFileSync(path, `${JSON.stringify({ ...kept, schedule } satisfies Kept, undefined, 1)}\n`);
    console.error(`${schedule.length} of ${first.schedule.length} faults are left after ${tries} attempts:`);
    for (const scheduled of schedule) console.error(`  ${describeFault(scheduled)}`);
    if (tries > 0) console.error(`with them: ${latest.message.split("\n", 3).join("\n")}`);
    console.error(`run exactly that with: npm run sim -- --schedule ${path}`);
  }

  close(): void {
    const seconds = (performance.now() - this.#startedMs) / 1_000;
    const hours = this.#simulatedMs / 3_600_000;
    const kinds = [...this.#faults].toSorted(([, a], [, b]) => b - a).map(([kind, count]) => `${count} ${kind}`);
    if (kinds.length > 0) console.log(`faults: ${kinds.join(", ")}`);
    console.log(
      `${this.#runCount} runs, ${hours.toFixed(2)} simulated hours in ${seconds.toFixed(0)} s ` +
        `(${(this.#simulatedMs / 1_000 / seconds).toFixed(1)} times as fast as real time), ` +
        `${this.#eventCount.toLocaleString("en")} events, ${this.#callCount.toLocaleString("en")} calls, ` +
        `${this.#failures.length} failed`,
    );
    for (const failure of this.#failures) console.log(`failed   ${failure}`);
    process.exit(this.#failures.length > 0 ? 1 : 0);
  }
}

function line(report: ClusterReport): string {
  const { seed, simulatedMs, revision, calls, watchedEventCount, faults, fingerprint } = report;
  const faultCount = [...faults.values()].reduce((sum, count) => sum + count, 0);
  const ended = Object.entries(calls)
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => `${count} ${kind}`);
  return (
    `seed ${seed}: ${(simulatedMs / 1_000).toFixed(0)} s simulated, ${faultCount} faults, ${ended.join(", ")}, ` +
    `revision ${revision}, ${watchedEventCount} watched, ${fingerprint}`
  );
}

if (process.argv[2] === "store") await import("./sim-store.ts");
else await main();
