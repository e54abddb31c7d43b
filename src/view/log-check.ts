/** Whether a log and a checkpoint belong together. */
import { HoldfastError } from "../base/index.ts";
import type { LogEngine } from "../log/index.ts";
import type { CheckpointRecord } from "./checkpoint.ts";

/** Whether other members have the log too. */
export function hasOthers(log: LogEngine): boolean {
  return log.capabilities.durability === "quorum" || log.capabilities.elsewhere === true;
}

/**
 * The log must reach from the checkpoint, or from before it, at least up to it, unless other members have the rest. Behind
 * a state that was installed the log begins anew, and the checkpoint before is of no use.
 */
export function checkLog(log: LogEngine, start: CheckpointRecord): void {
  const end = log.committed();
  const begins = log.start() <= start.position || log.capabilities.elsewhere === true;
  if (begins && (start.position <= end || hasOthers(log))) return;
  const what = `the log holds positions ${log.start()} to ${end}, but the last checkpoint is at ${start.position}`;
  const remedy = hasOthers(log)
    ? "a newer one is damaged, or log files are missing; replace the member: start a new one in an empty directory with --join and --replace"
    : "log files are missing; restore the data directory from a backup";
  throw new HoldfastError("corrupt", `${what}: ${remedy}`);
}
