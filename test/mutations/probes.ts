/**
 * What a deliberate bug is looked for with: short simulations from seeds, each of which throws when something is wrong. The
 * right code passes all of them, on the same seeds.
 */
import type { FaultKind } from "../../src/sim/cluster/faults.ts";
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

export type ProbeName =
  | "machines"
  | "churn"
  | "cuts"
  | "blackouts"
  | "members"
  | "checkpoints"
  | "clocks"
  | "store"
  | "killed";

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
    seedCount: 4,
    run: (seed) =>
      cluster(seed, { blackout: 4, crashAtChange: 6, kill: 2, checkpoint: 4, diskError: 1 }, { everyMs: 400 }),
  },
  /** Members come and go, with catch-up in the middle of other trouble. */
  members: {
    seedCount: 6,
    run: (seed) =>
      cluster(
        seed,
        { join: 2, replace: 5, remove: 2, crashAtChange: 12, checkpoint: 2, transfer: 1, isolate: 1 },
        { memberCount: 4, everyMs: 120, durationMs: 6_000, clientCount: 2, member: { checkpointLogSizeMin: 1_000 } },
      ),
  },
  /** One member that takes checkpoints all the time, and whose power fails in the middle of them. */
  checkpoints: {
    seedCount: 6,
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
  /** One store, cut at every change of its disk. */
  store: {
    seedCount: 2,
    async run(seed) {
      const { crashEverywhere } = await import("../../src/sim/index.ts");
      const { nextTurn, NodeDigest } = await import("../../src/host/index.ts");
      const { storeCrashes } = await import("../../src/member/crash.suite.ts");
      const campaign = { seed, drain: nextTurn, digest: new NodeDigest(), recoveryCrashes: true, stride: 5 };
      await crashEverywhere({ ...campaign, moments: ["after"] }, storeCrashes(String(seed), 15));
    },
  },
  /** One member whose process is killed and whose power fails. */
  killed: {
    seedCount: 4,
    run: (seed) => cluster(seed, { kill: 4, crash: 4, diskError: 1 }, { memberCount: 1, everyMs: 400 }),
  },
};
