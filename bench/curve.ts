/**
 * One point of the curve: an embedded store with so many keys of 256 B, in a process of its own.
 *
 *   node --expose-gc bench/curve.ts KEY_COUNT DIRECTORY
 *
 * Prints one JSON object: CPU microseconds a durable put (filling, 100 in flight), microseconds a get of a random key,
 * milliseconds until a reopened store answers its first get, resident memory then, and the bytes that a checkpoint
 * wrote for each of 1,000 keys changed at random.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { open } from "../src/index.ts";

const [keyCountText = "", directory = "", phase = "fill"] = process.argv.slice(2);
const keyCount = Number(keyCountText);
const keyOf = (index: number) => `key-${String((index * 7_919) % keyCount).padStart(10, "0")}`;
const value = new Uint8Array(256).map((_, index) => (index * 167 + (index >> 3) * 59) & 0xff);

async function fill(): Promise<Record<string, number>> {
  const store = await open(directory, { historyRevisions: 0 });
  const cpuBefore = process.cpuUsage();
  for (let from = 0; from < keyCount; from += 100) {
    const calls: Promise<unknown>[] = [];
    for (let index = from; index < Math.min(from + 100, keyCount); index++)
      calls.push(store.keys.put(keyOf(index), value));
    await Promise.all(calls);
  }
  const cpu = process.cpuUsage(cpuBefore);
  const gets = 20_000;
  const beforeMs = performance.now();
  for (let index = 0; index < gets; index++) {
    if ((await store.keys.get(keyOf(index * 31))) === undefined) throw new Error("a key is lost");
  }
  const getUs = ((performance.now() - beforeMs) * 1_000) / gets;
  await store.checkpoint();
  const sizeBefore = (await store.status()).blobWrittenSize;
  const changed = 1_000;
  await Promise.all(
    Array.from({ length: changed }, (_, index) =>
      store.keys.put(keyOf(Math.floor((index * keyCount) / changed)), value),
    ),
  );
  await store.checkpoint();
  const written = (await store.status()).blobWrittenSize - sizeBefore;
  await store.close();
  return { putCpuUs: (cpu.user + cpu.system) / keyCount, getUs, checkpointBytesPerKey: written / changed };
}

async function reopen(): Promise<Record<string, number>> {
  const beforeMs = performance.now();
  const store = await open(directory, { historyRevisions: 0 });
  if ((await store.keys.get(keyOf(1))) === undefined) throw new Error("a key is lost");
  const restartMs = performance.now() - beforeMs;
  const memoryMb = process.memoryUsage().rss / 1e6;
  await store.close();
  return { restartMs, memoryMb };
}

if (phase === "reopen") {
  console.log(JSON.stringify(await reopen()));
} else {
  const filled = await fill();
  const child = spawnSync(
    process.execPath,
    ["--no-warnings", fileURLToPath(import.meta.url), keyCountText, directory, "reopen"],
    { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] },
  );
  console.log(JSON.stringify({ ...filled, ...(JSON.parse(child.stdout) as Record<string, number>) }));
}
