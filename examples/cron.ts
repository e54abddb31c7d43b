/**
 * A cron that is led by one of many: every process runs this, one of them has the turn, and each report is written once.
 * Start a member with `npm start`, then, in several terminals:
 *
 *   node examples/cron.ts 127.0.0.1:7420 run
 *   node examples/cron.ts 127.0.0.1:7420 list
 */
import { connect } from "../src/index.ts";
import type { Store } from "../src/index.ts";

export interface Report {
  readonly at: string;
  readonly orderCount: number;
  readonly by: string;
}

/** Every minute, until the signal aborts: how many orders there are. The report and the end of the tick are one command. */
export async function report(store: Store, by: string, signal: AbortSignal): Promise<void> {
  await store.cron("report").run(
    "* * * * *",
    async (tick) => {
      await tick.transaction(async (tx) => {
        const orderCount = await tx.counter("orders").get();
        const at = new Date(tick.timeMs).toISOString();
        tx.log("reports").append({ at, orderCount, by } satisfies Report);
      });
    },
    { signal, catchUp: "all" },
  );
}

if (import.meta.main) {
  const [addresses = "", what = ""] = process.argv.slice(2);
  await using store = await connect(addresses);
  if (what === "run") {
    const stop = new AbortController();
    process.once("SIGINT", () => stop.abort());
    await report(store, `process ${process.pid}`, stop.signal);
  } else {
    for await (const { value } of store.log<Report>("reports").read()) console.log(`${value.at}\t${value.orderCount}`);
  }
}
