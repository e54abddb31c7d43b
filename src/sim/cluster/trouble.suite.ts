/** Trouble for a small cluster of a story: power failures, members cut off, new leaders; never more than one at a time. */
import type { Prng } from "../prng.ts";
import type { Scene } from "./scenario.suite.ts";

/** Goes on for `durationMs` of simulated time; then everybody runs and hears everybody. */
export async function trouble(scene: Scene, random: Prng, durationMs: number): Promise<void> {
  const endMs = scene.simulator.nowMs + durationMs;
  while (scene.simulator.nowMs < endMs) {
    await scene.sleep(400 + random.below(600));
    const seat = random.chance(0.5) ? await scene.leader() : random.pick(scene.seats);
    if (random.chance(0.5)) {
      scene.cluster.stop(seat, random.chance(0.5) ? "kill" : { unsynced: "random" });
      await scene.sleep(random.below(800));
    } else {
      scene.cutOff(seat);
      await scene.sleep(400 + random.below(1_200));
      scene.heal();
    }
    await scene.everybodyRuns();
  }
}
