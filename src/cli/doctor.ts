/**
 * `holdfast doctor`: checks what a store stands on, one line a check. With `--data` it has the directory for itself and
 * also measures the disk; with an endpoint it asks the running member. The exit status is 1 when any check fails.
 */
import { constants } from "node:fs";
import { open, statfs, unlink } from "node:fs/promises";
import { join, resolve } from "node:path";
import { styleText } from "node:util";
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { Store, VerifyProgress } from "../member/index.ts";
import { bytesText, countText, durationText, plural, printJson, printLine } from "./output.ts";
import { Progress } from "./progress.ts";
import { addTargetOptions, directoryEnv, withMember } from "./target.ts";
import type { TargetOptions } from "./target.ts";

interface Finding {
  readonly check: string;
  readonly ok: boolean;
  readonly text: string;
}

export function addTo(command: Command): void {
  addTargetOptions(command)
    .addHelpText("after", "\nExamples:\n  $ holdfast doctor\n  $ holdfast doctor --data ./holdfast-data")
    .action(async (options: TargetOptions) => {
      const findings: Finding[] = [];
      for await (const finding of examine(options)) {
        findings.push(finding);
        if (options.json) await printJson(finding);
        else await printLine(`${mark(finding.ok)} ${finding.check.padEnd(12)} ${finding.text}`);
      }
      const failed = findings.filter((finding) => !finding.ok);
      if (failed.length > 0) {
        const names = failed.map((finding) => finding.check).join(", ");
        throw new HoldfastError("corrupt", `${failed.length} of ${findings.length} checks failed: ${names}`);
      }
    });
}

function mark(ok: boolean): string {
  return ok
    ? styleText("green", "ok  ", { stream: process.stdout })
    : styleText("red", "FAIL", { stream: process.stdout });
}

async function* examine(options: TargetOptions): AsyncGenerator<Finding> {
  yield { check: "node", ok: true, text: `Node.js ${process.versions.node} on ${process.platform} ${process.arch}` };
  if (options.data !== undefined) yield* examineDisk(resolve(options.data));
  const findings: Finding[] = [];
  try {
    await withMember(options, async (store) => {
      for await (const finding of examineStore(store)) findings.push(finding);
    });
  } catch (error) {
    const code = error instanceof HoldfastError ? error.code : undefined;
    // The directory of a member of a cluster is only opened by that member: no fault of the directory.
    const apart = options.data !== undefined && code === "invalid";
    findings.push({ check: "open", ok: apart, text: error instanceof Error ? error.message : String(error) });
    // The store does not open, but its log can be read without it.
    if (options.data !== undefined && (apart || code === "corrupt")) {
      const { verifyDirectory } = await import("../member/index.ts");
      findings.push(await examineAll("log", "record", verifyDirectory(directoryEnv(options.data))));
    }
  }
  yield* findings;
}

async function* examineDisk(directory: string): AsyncGenerator<Finding> {
  try {
    const { bavail, bsize } = await statfs(directory);
    const free = bavail * bsize;
    yield { check: "space", ok: free > 256_000_000, text: `${bytesText(free)} free in ${directory}` };
    const medianMs = await durableWriteMs(directory);
    const verdict = medianMs < 5 ? "" : "; above 5 ms every single write will feel it";
    yield {
      check: "disk",
      ok: true,
      text: `a durable write of 4 KiB takes ${durationText(medianMs)} (median of 50)${verdict}`,
    };
  } catch (error) {
    yield { check: "disk", ok: false, text: error instanceof Error ? error.message : String(error) };
  }
}

/** The median time of a durable 4 KiB write into a preallocated file, as the journal does it. */
async function durableWriteMs(directory: string): Promise<number> {
  const path = join(directory, `doctor-${process.pid}.tmp`);
  const file = await open(path, constants.O_CREAT | constants.O_RDWR | constants.O_DSYNC);
  try {
    const block = new Uint8Array(4_096);
    await file.write(new Uint8Array(block.length * 50), 0, undefined, 0);
    const times: number[] = [];
    for (let index = 0; index < 50; index++) {
      const beforeMs = performance.now();
      await file.write(block, 0, block.length, index * block.length);
      times.push(performance.now() - beforeMs);
    }
    return times.toSorted((a, b) => a - b)[25] ?? 0;
  } finally {
    await file.close();
    await unlink(path);
  }
}

async function* examineStore(store: Store): AsyncGenerator<Finding> {
  const startedMs = performance.now();
  const status = await store.status();
  const answerMs = performance.now() - startedMs;
  yield {
    check: "store",
    ok: true,
    text: `revision ${countText(status.revision)}, ${plural(status.keyCount, "key")}, answered in ${durationText(answerMs)}`,
  };
  yield await examineAll("log", "record", store.verifyLog());
  yield await examineAll("blobs", "blob", store.verifyBlobs());
  yield await examineAll("tree", "page", store.verifyTree());
}

async function examineAll(check: string, noun: string, steps: AsyncIterable<VerifyProgress>): Promise<Finding> {
  const progress = new Progress({ label: `verifying ${check}`, noun: `${noun}s` });
  const damages: string[] = [];
  let count = 0;
  let size = 0;
  for await (const step of steps) {
    ({ count, size } = step);
    progress.update(count, size);
    damages.push(...step.damages);
  }
  progress.clear();
  const text = `${plural(count, noun)}, ${bytesText(size)}`;
  if (damages.length === 0) return { check, ok: true, text: `${text}, all clean` };
  return { check, ok: false, text: `${text}; damaged:\n       ${damages.join("\n       ")}` };
}
