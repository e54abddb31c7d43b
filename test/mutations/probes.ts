/**
 * What a deliberate bug is looked for with: short simulations from seeds, each of which throws when something is wrong. The
 * right code passes all of them, on the same seeds.
 */
import type { FaultKind, ScheduledFault } from "../../src/sim/cluster/faults.ts";
import type { ClusterRunOptions } from "../../src/sim/cluster/run.suite.ts";

export interface Probe {
  /** Seeds are 1 to this. */
  readonly seedCount: number;
  run(seed: number): Promise<void>;
}

async function cluster(
  seed: number,
  weights: Partial<Record<FaultKind, number>>,
  options: Partial<ClusterRunOptions> & { readonly everyMs?: number } = {},
): Promise<void> {
  const { runCluster } = await import("../../src/sim/cluster/run.suite.ts");
  const { everyMs = 600, ...rest } = options;
  await runCluster({ seed, memberCount: 3, durationMs: 10_000, faults: { everyMs, weights }, ...rest });
}

function catchUpRound(seed: number, round: number): ScheduledFault[] {
  const seat = (seed + round) % 3;
  const atMs = 1_000 + 1_700 * round;
  // Of the first checkpoint saved after the restart: its name is durable, older ones are being removed.
  const distance = 7 + ((seed + round) % 3);
  const change = { path: "checkpoints", distance, moment: "after", unsynced: "lost", forMs: 50 } as const;
  const checkpoints = [300, 600, 900].flatMap((delayMs) =>
    [1, 2].map((next) => ({ atMs: atMs + delayMs, fault: { kind: "checkpoint", seat: (seat + next) % 3 } as const })),
  );
  return [
    { atMs, fault: { kind: "crash", seat, unsynced: "lost", forMs: 1_000 } },
    ...checkpoints,
    { atMs: atMs + 1_010, fault: { kind: "crashAtChange", seat, ...change } },
  ];
}

export type ProbeName =
  | "machines"
  | "churn"
  | "cuts"
  | "blackouts"
  | "catchUp"
  | "checkpoints"
  | "clocks"
  | "collections";

export const probes: Readonly<Record<ProbeName, Probe>> = {
  /** Consensus machines alone, with every step watched. */
  machines: {
    seedCount: 400,
    async run(seed) {
      const { explore } = await import("../../src/raft/explorer.suite.ts");
      explore(seed, 1_500);
    },
  },
  /** Members that crash, stop for a while, and do not reach each other. */
  churn: {
    seedCount: 4,
    run: (seed) =>
      cluster(seed, { crash: 4, kill: 3, freeze: 4, cut: 4, isolate: 6, partition: 6, transfer: 3, flaky: 1 }),
  },
  /** Connections break all the time. */
  cuts: {
    seedCount: 4,
    run: (seed) =>
      cluster(
        seed,
        { cut: 10, transfer: 1, isolate: 1 },
        { everyMs: 60, durationMs: 6_000, clientCount: 1, workload: { loops: ["single"], thinkMs: 10 } },
      ),
  },
  /** The power of all fails again and again, and what was not durable is lost. */
  blackouts: {
    seedCount: 8,
    run: (seed) =>
      cluster(seed, { blackout: 4, crashAtChange: 6, kill: 2, checkpoint: 4, diskError: 1 }, { everyMs: 400 }),
  },
  /** Members fall behind the others' logs, and their power fails as they take over the others' state. */
  catchUp: {
    seedCount: 3,
    run: (seed) =>
      cluster(
        seed,
        {},
        {
          schedule: Array.from({ length: 6 }, (_, round) => catchUpRound(seed, round)).flat(),
          durationMs: 11_000,
          clientCount: 2,
          member: { checkpointLogSizeMin: 500, historyRevisions: 5 },
          workload: { thinkMs: 15, loops: ["single", "group"] },
        },
      ),
  },
  /** One member that takes checkpoints all the time, and whose power fails in the middle of them. */
  checkpoints: {
    seedCount: 12,
    run: (seed) =>
      cluster(
        seed,
        { crashAtChange: 4, checkpoint: 2 },
        { memberCount: 1, everyMs: 100, durationMs: 6_000, member: { checkpointLogSizeMin: 500 } },
      ),
  },
  /** Clocks jump while leases run. */
  clocks: {
    seedCount: 3,
    run: (seed) => cluster(seed, { clockJump: 8, transfer: 2, drift: 1 }, { workload: { loops: ["lease", "single"] } }),
  },
  /** Members collect all the time while the same contents are put and deleted. */
  collections: {
    seedCount: 4,
    async run(seed) {
      const { collectionRace } = await import("../../src/sim/cluster/collection-race.suite.ts");
      await collectionRace({ seed, roundCount: 6 });
    },
  },
};
