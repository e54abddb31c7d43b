/** A watch of which nothing was heard for longer than a call may take goes on when its member goes. */
import { test } from "node:test";
import { tell } from "./scenario.suite.ts";

test("an idle watch outlives every member in turn", async () => {
  await tell({ seed: "idle", memberCount: 3 }, async (scene) => {
    const store = await scene.client();
    const stop = new AbortController();
    let seen: string | undefined;
    let failure: unknown;
    const watch = async () => {
      for await (const leader of store.election<string>("x").observe({ signal: stop.signal })) seen = leader?.value;
    };
    const watching = watch().catch((error: unknown) => (failure = error));
    await scene.sleep(15_000);
    for (const seat of scene.seats) {
      scene.cluster.stop(seat, "kill");
      await scene.sleep(500);
      await scene.everybodyRuns();
    }
    const hold = await store.election("x").campaign({ value: "me" });
    const isSeen = () => {
      if (failure !== undefined) throw failure;
      return seen === "me";
    };
    await scene.until("the leader is seen", isSeen, 30_000);
    await hold.release();
    stop.abort();
    await watching;
  });
});
