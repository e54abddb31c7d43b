/**
 * A job runner: somebody orders thumbnails, several workers make them. A worker that dies gives its job back; what it noted
 * in the transaction that acknowledges the job is noted once. Start a member with `npm start`, then, in several terminals:
 *
 *   node examples/jobs.ts 127.0.0.1:7420 work
 *   node examples/jobs.ts 127.0.0.1:7420 order cat.jpg dog.jpg
 *   node examples/jobs.ts 127.0.0.1:7420 list
 */
import { connect } from "../src/index.ts";
import type { Store } from "../src/index.ts";

export interface Order {
  readonly image: string;
}

/** Ordering the same image again while its job is there orders nothing. */
export async function order(store: Store, ...images: readonly string[]): Promise<number> {
  const jobs = images.map((image) => ({ value: { image }, dedupKey: image }));
  const outcomes = await store.queue<Order>("thumbnails").pushMany(jobs);
  return outcomes.filter(({ duplicate }) => !duplicate).length;
}

/** Works until the signal aborts. What fails is tried again later, and in the end is among the dead jobs. */
export async function work(
  store: Store,
  make: (image: string) => Promise<string>,
  options: { readonly signal: AbortSignal; readonly concurrency?: number },
): Promise<void> {
  await store.queue<Order>("thumbnails").work(async (job) => {
    const thumbnail = await make(job.value.image);
    await job.transaction((tx) => {
      tx.map<string, string>("thumbnails").set(job.value.image, thumbnail);
      tx.counter("thumbnails made").add(1);
    });
  }, options);
}

if (import.meta.main) {
  const [addresses = "", what = "", ...images] = process.argv.slice(2);
  await using store = await connect(addresses);
  if (what === "order") console.log(`${await order(store, ...images)} ordered`);
  else if (what === "work") {
    const stop = new AbortController();
    process.once("SIGINT", () => stop.abort());
    await work(store, async (image) => `small ${image}`, { signal: stop.signal, concurrency: 4 });
  } else {
    for await (const { key, value } of store.map<string, string>("thumbnails").entries())
      console.log(`${key}\t${value}`);
  }
}
