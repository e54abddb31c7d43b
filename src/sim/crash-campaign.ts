/**
 * A crash at every change of the disk. A workload runs once undisturbed, to count the operations that change the disk;
 * then, for each of them and each moment around it, it runs again from the same seed, its machine loses power there, and
 * after the restart a check says whether what the machine promised is still true.
 *
 * ```ts
 * await crashEverywhere({ seed: 1, drain: nextTurn }, {
 *   start: () => ({ acknowledged: [] as number[] }),
 *   run: async (env, told) => { … await append(n); told.acknowledged.push(n); … },
 *   check: async (env, told) => { … every number that was acknowledged is there … },
 * });
 * ```
 *
 * 1. What the workload writes down in its notes (`start`) before the crash is what the machine has promised: nothing of
 *    a dead incarnation goes on, so nothing is noted after the crash.
 * 2. A failure names the seed and the crash; `only` then repeats that one alone.
 */
import { AssertionError } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import type { UnsyncedFate } from "./file.ts";
import type { CrashMoment, Machine } from "./machine.ts";
import { Simulator } from "./simulator.ts";
import type { RunOptions, SimulatorOptions } from "./simulator.ts";

export interface CrashWorkload<Notes> {
  /** Notes for one run: what the workload tells the check, outside the machine. */
  start(): Notes;
  /** What the machine does. It must do the same from the same seed; it needs not come to an end by itself after a crash. */
  run(env: Env, notes: Notes, machine: Machine): Promise<void>;
  /**
   * Runs on the restarted machine and throws if something is not as promised. With `recoveryCrashes` it may itself be
   * cut off by a crash and is then run again from the start.
   */
  check(env: Env, notes: Notes, crash: CrashPoint): Promise<void>;
}

/** Where the power failed. */
export interface CrashPoint {
  /** Number of the change, counted from 1 (`DiskOperation.changeNumber`). */
  readonly change: number;
  readonly moment: CrashMoment;
  readonly unsynced: UnsyncedFate;
}

export interface CrashCampaign extends SimulatorOptions, RunOptions {
  /** What becomes of changes that were not durable. Default: each of `random` and `lost`. */
  readonly unsynced?: readonly UnsyncedFate[];
  /** Default: all three. */
  readonly moments?: readonly CrashMoment[];
  /** Crash only at every so many changes, for long workloads. Default 1. */
  readonly stride?: number;
  /** Crash a second time while the check runs, at one of its first changes, as the seed chooses. Default false. */
  readonly recoveryCrashes?: boolean;
  /** Run just this one, to look into a failure. */
  readonly only?: CrashPoint;
}

export interface CrashCampaignResult {
  /** Changes of the undisturbed run. */
  readonly changeCount: number;
  /** Runs with a crash. */
  readonly crashCount: number;
}

/** How many changes into the check a second crash may come. */
const recoveryChangeCountMax = 8;

export async function crashEverywhere<Notes>(
  campaign: CrashCampaign,
  workload: CrashWorkload<Notes>,
): Promise<CrashCampaignResult> {
  const changeCount = await runUndisturbed(campaign, workload);
  let crashCount = 0;
  for (const point of points(campaign, changeCount)) {
    await runOnce(campaign, workload, point);
    crashCount += 1;
  }
  return { changeCount, crashCount };
}

function* points(campaign: CrashCampaign, changeCount: number): Generator<CrashPoint> {
  if (campaign.only !== undefined) {
    yield campaign.only;
    return;
  }
  const { moments = ["before", "during", "after"], unsynced = ["random", "lost"], stride = 1 } = campaign;
  for (let change = 1; change <= changeCount; change += stride) {
    for (const moment of moments) for (const fate of unsynced) yield { change, moment, unsynced: fate };
  }
}

/** Also checks the promises of a run that nothing disturbed, after a crash when all was said and done. */
async function runUndisturbed<Notes>(campaign: CrashCampaign, workload: CrashWorkload<Notes>): Promise<number> {
  const simulator = new Simulator(campaign);
  const machine = simulator.machine("crash");
  const notes = workload.start();
  await simulator.run(workload.run(machine.env, notes, machine), campaign);
  const change = machine.disk.changeCount;
  machine.crash({ unsynced: "lost" });
  const point: CrashPoint = { change: change + 1, moment: "before", unsynced: "lost" };
  await naming(campaign, point, simulator, () =>
    simulator.run(workload.check(machine.restart(), notes, point), campaign),
  );
  return change;
}

async function runOnce<Notes>(
  campaign: CrashCampaign,
  workload: CrashWorkload<Notes>,
  point: CrashPoint,
): Promise<void> {
  const simulator = new Simulator(campaign);
  const machine = simulator.machine("crash");
  const notes = workload.start();
  await naming(campaign, point, simulator, async () => {
    machine.crashAtChange(point.change, point.moment, { unsynced: point.unsynced });
    await untilDown(simulator, machine, workload.run(machine.env, notes, machine), campaign);
    // A run that ended first was shorter than the undisturbed one, which the same seed forbids unless it was over.
    if (machine.alive) machine.crash({ unsynced: point.unsynced });
    // The first incarnation's hook must not outlive it.
    machine.disk.hook = undefined;
    if (campaign.recoveryCrashes === true) {
      const random = simulator.random.fork(`${point.change} ${point.moment} ${point.unsynced}`);
      const env = machine.restart();
      machine.crashAtChange(1 + random.below(recoveryChangeCountMax), random.pick(["before", "during", "after"]));
      await untilDown(simulator, machine, workload.check(env, notes, point), campaign);
      machine.disk.hook = undefined;
      if (machine.alive) return;
    }
    await simulator.run(workload.check(machine.restart(), notes, point), campaign);
  });
}

/** Lets events happen until the machine is down, or what it does has come to an end; a failure is the caller's. */
async function untilDown(
  simulator: Simulator,
  machine: Machine,
  work: Promise<void>,
  options: RunOptions,
): Promise<void> {
  let over = false;
  const finished = work.finally(() => (over = true));
  // Looked at below, if it is over; a dead machine's work is nobody's business any more.
  finished.catch(() => {});
  await simulator.run(() => over || !machine.alive, options);
  if (over && machine.alive) await finished;
}

async function naming(
  { seed }: CrashCampaign,
  point: CrashPoint,
  simulator: Simulator,
  run: () => Promise<void>,
): Promise<void> {
  try {
    await run();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new AssertionError(
      `seed ${seed}, crash ${JSON.stringify(point)}: ${reason}\nlatest events:\n${simulator.trace.tail(20)}`,
      { cause: error },
    );
  }
}
