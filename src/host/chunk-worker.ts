/**
 * A thread of a `WorkerPipeline`: reads files, cuts, hashes, compresses, encrypts, opens
 * blobs, and writes small files. What is to be done
 * comes by `pipeline-protocol.ts`; a thread knows nothing of sinks and stores.
 */
import { readlinkSync } from "node:fs";
import { setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { assert } from "../base/index.ts";
import { ChunkWorkshop } from "./chunk-workshop.ts";
import { NodeCipher } from "./cipher.ts";
import { NodeDigest } from "./digest.ts";
import { FilePlacer } from "./file-placing.ts";
import { FileTimes } from "./file-times.ts";
import type { ToThread } from "./pipeline-protocol.ts";

/** As the system counts it: a tenth of the time of others where there is not enough for all. */
const niceness = 10;

const port = parentPort;
assert(port !== null, "this is the program of a thread, not one to start");
const { compressionLevel } = workerData as { readonly compressionLevel: number };
const workshop = new ChunkWorkshop({
  digest: new NodeDigest({ compressionLevel }),
  cipher: new NodeCipher(),
  placer: new FilePlacer(new FileTimes()),
  send: (messages, handOver) => port.postMessage(messages, handOver),
});
port.on("message", (messages: readonly ToThread[]) => workshop.receive(messages));

beNice();

/**
 * Lets the event loop, which serves consensus, go first when all processors are busy. Linux counts each thread of a
 * process as its own; elsewhere this thread has no number that the system would know.
 */
function beNice(): void {
  try {
    const thread = Number(readlinkSync("/proc/thread-self").split("/").at(-1));
    if (Number.isSafeInteger(thread) && thread !== process.pid) setPriority(thread, niceness);
  } catch {
    // No Linux, or no /proc: everything works as well without.
  }
}
