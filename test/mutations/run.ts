/** Runs mutants, each in a process of its own (child.ts), a few at a time. */
import { spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { mutants } from "./mutants.ts";
import type { Mutant } from "./mutants.ts";

export interface MutantReport {
  readonly mutant: Mutant;
  /** The seed by which it was caught; 0 when it got through. */
  readonly caught: number;
  /** How. */
  readonly message: string;
  readonly seconds: number;
}

export interface MutantRun {
  /** Part of the names of those to run; default all. */
  readonly only?: string;
  readonly seedCount?: number;
  readonly report: (report: MutantReport) => void;
}

const child = fileURLToPath(new URL("child.ts", import.meta.url));
const parallelCount = 2;
/** A mutant that runs in circles is caught too, but not waited for. */
const timeoutMs = 120_000;

export async function runMutants({ only = "", seedCount, report }: MutantRun): Promise<void> {
  const left = [...mutants.entries()].filter(([, { name }]) => name.includes(only));
  const worker = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const [index, mutant] = next;
      const startedMs = performance.now();
      const { caught, message } = await runChild(String(index), seedCount);
      report({ mutant, caught, message, seconds: (performance.now() - startedMs) / 1_000 });
    }
  };
  await Promise.all(Array.from({ length: parallelCount }, worker));
}

/** `which` is the index of a mutant, or a probe for the right code. Rejects when it cannot be run at all. */
export async function runChild(which: string, seedCount?: number): Promise<{ caught: number; message: string }> {
  const args = [child, which, ...(seedCount === undefined ? [] : [String(seedCount)])];
  // Modules are stripped of their types once for all children.
  const env = { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), "holdfast-compile-cache") };
  const started = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "pipe"], timeout: timeoutMs });
  let output = "";
  let errors = "";
  started.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  started.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  const [status, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    started.on("error", reject).on("close", (code, by) => resolve([code, by]));
  });
  if (signal !== null) return { caught: 1, message: `it did not come to an end within ${timeoutMs / 1_000} s` };
  const last = output.trimEnd().split("\n").at(-1) ?? "";
  if (status !== 0 || !last.startsWith("{")) throw new Error(`${which} could not be run:\n${output}${errors}`);
  return JSON.parse(last) as { caught: number; message: string };
}
