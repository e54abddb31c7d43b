/**
 * The real command in child processes, for tests: run one to its end, or start a member and wait until it serves.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcessByStdio, ChildProcessWithoutNullStreams } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { after } from "node:test";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("main.ts", import.meta.url));

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** The default endpoint, as `$HOLDFAST_ENDPOINT`. */
  readonly endpoint?: string;
  readonly input?: string | Uint8Array;
  readonly directory?: string;
}

/** What the test file leaves behind, undone when it is over: an `after` inside a hook or a test would run earlier. */
const cleanups: (() => unknown)[] = [];
after(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
});

/** A temporary directory that goes when the test file is over. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "holdfast-cli-"));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** Starts `holdfast` with these arguments. Colours are off; what it prints is UTF-8 text. */
export function launch(
  args: readonly string[],
  { endpoint, directory }: RunOptions = {},
): ChildProcessWithoutNullStreams {
  const { HOLDFAST_ENDPOINT: _, FORCE_COLOR: __, ...environment } = process.env;
  const env = { ...environment, NO_COLOR: "1", ...(endpoint !== undefined && { HOLDFAST_ENDPOINT: endpoint }) };
  const child = spawn(process.execPath, [main, ...args], { env, cwd: directory });
  cleanups.push(() => child.kill("SIGKILL"));
  return child;
}

/** Gathers what a started command prints until it ends. */
export function outcomeOf(child: ChildProcessByStdio<Writable | null, Readable, Readable>): Promise<Outcome> {
  let stdout = "";
  let stderr = "";
  for (const stream of [child.stdout, child.stderr]) if (stream.readableEncoding === null) stream.setEncoding("utf8");
  child.stdout.on("data", (text: string) => (stdout += text));
  child.stderr.on("data", (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, stdout, stderr }));
  });
}

export function run(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const child = launch(args, options);
  // A command that does not read its input may be gone before it is written.
  child.stdin.on("error", () => {});
  child.stdin.end(options.input ?? "");
  return outcomeOf(child);
}

/** Runs a command that must succeed, and gives what it printed. */
export async function succeed(args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { status, stdout, stderr } = await run(args, options);
  assert.equal(status, 0, `holdfast ${args.join(" ")}: exit status ${status}\n${stderr}`);
  return stdout;
}

/** Runs a command that must fail with this status, and gives what it said on standard error. */
export async function failWith(wanted: number, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { status, stdout, stderr } = await run(args, options);
  assert.equal(status, wanted, `holdfast ${args.join(" ")}: exit status ${status}\n${stdout}${stderr}`);
  assert.equal(stdout, "", "a failure prints nothing on standard output");
  return stderr;
}

/** The JSON values of a text with one a line. */
export function jsonLines(text: string): unknown[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as unknown);
}

export interface Member {
  readonly endpoint: string;
  readonly process: ChildProcessWithoutNullStreams;
  readonly outcome: Promise<Outcome>;
  /** Ends it with a signal and gives how it ended. */
  stop(signal?: NodeJS.Signals): Promise<Outcome>;
}

/** Runs `holdfast start` on the directory and resolves when it serves. The test file ends it at the latest. */
export async function startMember(directory: string, args: readonly string[] = []): Promise<Member> {
  const child = launch(["start", "--data", directory, "--listen", "127.0.0.1:0", "--json", ...args]);
  const outcome = outcomeOf(child);
  const greeting = await Promise.race([nextLine(child), outcome]);
  assert.ok(typeof greeting === "string", `the member ended: ${JSON.stringify(greeting)}`);
  const { addresses } = JSON.parse(greeting) as { addresses: string[] };
  return {
    endpoint: addresses[0] ?? "",
    process: child,
    outcome,
    stop(signal = "SIGTERM") {
      child.kill(signal);
      return outcome;
    },
  };
}

function nextLine(child: ChildProcessWithoutNullStreams): Promise<string> {
  return new Promise((resolve) => {
    createInterface({ input: child.stdout }).once("line", resolve);
  });
}

/** The lines that a running command prints, one at a time. */
export function linesOf(child: ChildProcessWithoutNullStreams): AsyncIterator<string> {
  return createInterface({ input: child.stdout })[Symbol.asyncIterator]();
}
