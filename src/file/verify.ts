/**
 * Reads the bytes of every file of a tree again and checks them: what is damaged or missing is named, the rest goes on. The
 * same bytes under several names are read once, and told of for each name.
 */
import { HoldfastError, throwIfAborted } from "../base/index.ts";
import type { FileRecord } from "./file-record.ts";
import { Tasks } from "./tasks.ts";
import { TreeAccount } from "./tree.ts";
import type { TreeOptions, TreeOutcome } from "./tree.ts";
import { storedTree } from "./tree-merge.ts";
import type { TreeSource } from "./tree-merge.ts";
import { checkedTreePrefix } from "./tree-path.ts";

export interface VerifyTreeOptions extends Omit<TreeOptions, "dryRun"> {
  /** Find out, meanwhile, how much there is, for `TreeProgress`. */
  readonly measure?: boolean | undefined;
}

const parallelCountDefault = 16;
const underWaySizeMax = 67_108_864;
/** Contents that are remembered: about 200 bytes each. */
const knownCountMax = 262_144;

/** What is sound counts as unchanged, what is not as failed. `notFound` if there is nothing at `prefix`. */
export async function verifyTree(
  files: TreeSource,
  prefix: string,
  options: VerifyTreeOptions = {},
): Promise<TreeOutcome> {
  const top = checkedTreePrefix(prefix);
  const { signal } = options;
  const account = new TreeAccount(options);
  const tasks = new Tasks(options.parallelCount ?? parallelCountDefault, underWaySizeMax);
  const known = new Map<string, Promise<HoldfastError | undefined>>();
  const stop = new AbortController();
  const measuring = options.measure === true ? measure(files, top, account, stop.signal) : undefined;

  const check = async (path: string, record: FileRecord) => {
    if (record.type !== "file") return account.done("unchanged", path);
    let checked = known.get(record.hash);
    const isFirst = checked === undefined;
    checked ??= readAll(files, record, { signal, progress: (size) => account.read(size) });
    if (isFirst && known.size < knownCountMax) known.set(record.hash, checked);
    const error = await checked;
    const size = isFirst ? 0 : record.size;
    if (error === undefined) account.done("unchanged", path, size);
    else account.done("failed", path, size, error);
  };

  let count = 0;
  try {
    for await (const { path, record } of storedTree(files, top, { signal })) {
      if (tasks.failed) break;
      count++;
      if (record.type === "file") account.holds(record.size);
      await tasks.add(() => check(path, record), Math.min(record.size, 16_777_216));
    }
    await tasks.finish();
  } finally {
    await tasks.settled();
    stop.abort();
    await measuring;
  }
  if (count === 0) throw new HoldfastError("notFound", `there is nothing at ${files.bucket}:${top}`);
  return account.outcome;
}

interface ReadOptions {
  readonly signal: AbortSignal | undefined;
  readonly progress: (size: number) => void;
}

/** What is wrong with the bytes; undefined if nothing is. */
async function readAll(
  files: TreeSource,
  record: FileRecord,
  { signal, progress }: ReadOptions,
): Promise<HoldfastError | undefined> {
  try {
    const reading = await files.open(record, { signal });
    for await (const bytes of reading.stream({ signal })) progress(bytes.length);
    return undefined;
  } catch (error) {
    throwIfAborted(signal);
    const isDamage = error instanceof HoldfastError && (error.code === "corrupt" || error.code === "notFound");
    if (isDamage) return error;
    throw error;
  }
}

async function measure(files: TreeSource, prefix: string, account: TreeAccount, signal: AbortSignal): Promise<void> {
  let [count, size] = [0, 0];
  try {
    for await (const { record } of storedTree(files, prefix, { signal })) {
      count++;
      size += record.type === "file" ? record.size : 0;
    }
  } catch {
    // The run itself tells what is wrong.
    return;
  }
  account.state.countTotal = count;
  account.state.sizeTotal = size;
}
