/**
 * What a person sees of work on whole trees: a line of progress, what became of single paths, an account at the end, and
 * the exit status. Problems, the conflicts of a sync and what was skipped are told as they come, on standard error; every
 * change only in a dry run or with `--verbose`, on standard output. With `--json` all of that is one object a line, and the last line on standard output is the account.
 */
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { Files, Patterns, TreeEvent, TreeOutcome, TreeProgress, Trees } from "../file/index.ts";
import { NodeFileSystem } from "../host/index.ts";
import { pathForPeople, pathJson } from "./file-text.ts";
import {
  bytesText,
  countText,
  durationText,
  jsonText,
  plural,
  print,
  printJson,
  printLine,
  UsageError,
} from "./output.ts";
import { Progress } from "./progress.ts";

export interface ReportOptions extends TreeCommandOptions {
  /** There is one file only: when it fails, everything does, and no account is given. */
  readonly single?: boolean;
  /** A sync: its events have longer names. */
  readonly wide?: boolean;
}

export interface TreeCommandOptions {
  readonly json?: boolean;
  readonly verbose?: boolean;
  readonly dryRun?: boolean;
}

export interface PatternOptions {
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly excludeFile?: readonly string[];
}

const interruptions = ["SIGINT", "SIGTERM"] as const;

const collect = (text: string, before: readonly string[] = []): string[] => [...before, text];

export function addTreeOptions(command: Command): Command {
  return command
    .option("--include <pattern>", "only what matches; may be given several times", collect)
    .option("--exclude <pattern>", "not what matches; patterns are those of .gitignore", collect)
    .option("--exclude-file <file>", "the same, with a pattern a line", collect)
    .option("-n, --dry-run", "only say what would be done")
    .option("-v, --verbose", "say what is done");
}

/** Loads the layer only when it is needed. */
export async function patternsOf({ include, exclude = [], excludeFile = [] }: PatternOptions): Promise<Patterns> {
  const { patternLines, Patterns } = await import("../file/index.ts");
  const lines: string[] = [];
  for (const file of excludeFile) {
    const text = await readFile(file, "utf8").catch((error: unknown) => {
      throw new UsageError(`cannot read ${file}: ${(error as Error).message}`);
    });
    lines.push(...patternLines(text));
  }
  try {
    return new Patterns({ include, exclude: [...lines, ...exclude] });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** Trees between this machine and the store that the files are of. */
export async function treesOf(files: Files): Promise<Trees> {
  const { Trees } = await import("../file/index.ts");
  return new Trees(files.parts, new NodeFileSystem());
}

/** One thing that happened to a path, whoever tells of it. */
export interface PathEvent {
  readonly type: string;
  readonly path: string;
  readonly other?: string | undefined;
  readonly error?: HoldfastError | undefined;
}

const problems = new Set(["failed", "unstable"]);
/** What a user wants to hear of in any case, though nothing is wrong. */
const notable = new Set(["conflict", "skipped"]);

/** What an event is called for people. */
const words: Readonly<Record<string, string>> = {
  unstable: "changed while read",
  deleteStored: "delete in store",
  deleteLocal: "delete here",
};

export class TreeReport {
  readonly #options: ReportOptions;
  readonly #progress: Progress;
  /** What is done with, and what is under way, of several trees. */
  readonly #running = new Set<TreeProgress>();
  #ended = { count: 0, size: 0, newSize: 0 };
  #failure: HoldfastError | undefined;
  #failedCount = 0;

  /** `label` stands before the progress: `storing`. */
  constructor(label: string, options: ReportOptions) {
    this.#options = options;
    this.#progress = new Progress({ label, noun: "files", rate: "size" });
  }

  get elapsedMs(): number {
    return this.#progress.elapsedMs;
  }

  /** Runs the work on one tree, of which several may be under way. Everybody who looks wants to know how much there is. */
  async run<T>(
    work: (shared: { readonly measure: boolean; readonly progress: (one: TreeProgress) => void }) => Promise<T>,
  ): Promise<T> {
    let last: TreeProgress | undefined;
    const progress = (one: TreeProgress) => {
      last = one;
      this.#running.add(one);
      this.#update();
    };
    const outcome = await work({ measure: this.#progress.isShown, progress });
    if (last !== undefined) this.#endTree(last);
    return outcome;
  }

  #update(): void {
    if (!this.#progress.isShown) return;
    let { count, size, newSize } = this.#ended;
    let countTotal: number | undefined = count;
    let sizeTotal: number | undefined = size;
    for (const tree of this.#running) {
      count += tree.count;
      size += tree.size;
      newSize += tree.newSize;
      countTotal = sum(countTotal, tree.countTotal);
      sizeTotal = sum(sizeTotal, tree.sizeTotal);
    }
    this.#progress.update(count, size, { newSize, countTotal, sizeTotal });
  }

  /** What was told of it so far is done with. */
  #endTree(one: TreeProgress): void {
    if (!this.#running.delete(one)) return;
    const { count, size, newSize } = this.#ended;
    this.#ended = { count: count + one.count, size: size + one.size, newSize: newSize + one.newSize };
  }

  /** For the events of a tree; `top` stands before their paths. */
  reporter(top: string): (event: TreeEvent) => void {
    return (event) => this.tell({ ...event, path: joined(top, event.path) });
  }

  tell(event: PathEvent): void {
    const { type, error } = event;
    if (type === "failed") {
      this.#failedCount++;
      this.#failure ??= error ?? new HoldfastError("unavailable", `${event.path} failed`);
    }
    const { json, dryRun, verbose, single, wide } = this.#options;
    if (type === "failed" && single === true) return;
    const isProblem = problems.has(type);
    const isListed = dryRun === true || verbose === true;
    const isNotable = notable.has(type) && !isListed;
    if (!isProblem && !isNotable && !isListed) return;
    if (json !== true && isProblem) return this.#progress.remark(`warning: ${problemText(event)}`);
    if (json !== true && isNotable) return this.#progress.remark(eventText(event, 0));
    this.#progress.clear();
    const text = json === true ? jsonText(eventJson(event)) : eventText(event, wide === true ? 15 : 9);
    process.stdout.write(`${text}\n`);
  }

  /** Of the whole work. */
  warn(message: string): void {
    if (this.#options.json !== true) return this.#progress.remark(`warning: ${pathForPeople(message)}`);
    this.#progress.clear();
    process.stdout.write(`${jsonText({ event: "warning", message })}\n`);
  }

  clear(): void {
    this.#progress.clear();
  }

  /** Prints the account, and fails when something has. `text` is for people, `fields` for machines. */
  async end(text: string, fields: Record<string, unknown>): Promise<void> {
    this.#progress.clear();
    const { json, dryRun, single } = this.#options;
    if (single === true && this.#failure !== undefined) throw this.#failure;
    if (json === true) await printJson({ ...fields, ...(dryRun === true && { dryRun: true }) });
    else await printLine(text);
    if (this.#failure === undefined) return;
    const { code } = this.#failure;
    throw new HoldfastError(code, `${countText(this.#failedCount)} failed and named above; the others are done`);
  }
}

function sum(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a + b;
}

function joined(top: string, path: string): string {
  if (path === "" || top === "") return top + path;
  return top.endsWith("/") || top.endsWith(":") ? top + path : `${top}/${path}`;
}

function eventJson({ type, path, other, error }: PathEvent): unknown {
  return {
    event: type,
    ...pathJson(path),
    ...(other !== undefined && { other: pathForPeople(other) }),
    ...(error !== undefined && { error: { code: error.code, message: error.message } }),
  };
}

function eventText({ type, path, other, error }: PathEvent, width: number): string {
  const more = other === undefined ? "" : ` -> ${pathForPeople(other)}`;
  const why = error === undefined ? "" : ` (${pathForPeople(error.message)})`;
  return `${(words[type] ?? type).padEnd(width)} ${pathForPeople(path)}${more}${why}`;
}

function problemText({ type, path, error }: PathEvent): string {
  const place = pathForPeople(path);
  if (error === undefined) return `${place} ${type === "unstable" ? "changed whenever it was read" : type}`;
  const message = pathForPeople(error.message);
  // Most messages name the thing already.
  return message.includes(place) ? message : `${place}: ${message}`;
}

/** Of several trees one. */
export function addOutcomes(a: TreeOutcome, b: TreeOutcome): TreeOutcome {
  const total: Record<string, number> = { ...a };
  for (const [name, value] of Object.entries(b) as [string, number][]) total[name] = (total[name] ?? 0) + value;
  return { ...(total as unknown as TreeOutcome), revision: Math.max(a.revision, b.revision) };
}

/** `1,234 files, 56.7 MB`. */
export function filesText({ fileCount, size }: Pick<TreeOutcome, "fileCount" | "size">): string {
  return `${plural(fileCount, "file")}, ${bytesText(size)}`;
}

/** What stands behind it: how many were there, and what else happened. */
export function detailsText(outcome: Partial<TreeOutcome>, elapsedMs: number): string {
  const { unchangedFileCount = 0, deletedCount = 0, skippedCount = 0, unstableCount = 0, failedCount = 0 } = outcome;
  const parts = [
    [unchangedFileCount, "unchanged"],
    [deletedCount, "deleted"],
    [skippedCount, "skipped"],
    [unstableCount, "changed while read"],
    [failedCount, "failed"],
  ] as const;
  const told = parts.filter(([count]) => count > 0).map(([count, word]) => `${countText(count)} ${word}`);
  return [`in ${durationText(elapsedMs)}`, ...(told.length === 0 ? [] : [told.join(", ")])].join("; ");
}

/** What both directions count. */
export function outcomeJson(outcome: TreeOutcome): Record<string, unknown> {
  const { fileCount, size, unchangedFileCount, deletedCount, skippedCount, unstableCount, failedCount } = outcome;
  return {
    files: fileCount,
    bytes: size,
    unchanged: unchangedFileCount,
    ...(deletedCount > 0 && { deleted: deletedCount }),
    ...(skippedCount > 0 && { skipped: skippedCount }),
    ...(unstableCount > 0 && { unstable: unstableCount }),
    ...(failedCount > 0 && { failed: failedCount }),
  };
}

/** Runs what Ctrl-C stops. `stopped` says then what has become of it. A second Ctrl-C ends the process at once. */
export async function interruptible<T>(stopped: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const stop = () => controller.abort();
  for (const name of interruptions) process.once(name, stop);
  try {
    return await work(controller.signal);
  } catch (error) {
    if (!controller.signal.aborted) throw error;
    const maybe = error instanceof HoldfastError && error.maybe;
    // What has become of it nobody knows then.
    const message = maybe ? "stopped before the store had answered" : `stopped: ${stopped}`;
    throw new HoldfastError("cancelled", message, { cause: error, maybe });
  } finally {
    // Whatever else the command does is not stopped by this any more, and one handler is not left for each piece of work.
    for (const name of interruptions) process.removeListener(name, stop);
  }
}

/** Writes lines of a list many at a time. */
export class LinePrinter {
  #lines: string[] = [];

  async add(line: string): Promise<void> {
    this.#lines.push(line, "\n");
    if (this.#lines.length >= 512) await this.end();
  }

  async end(): Promise<void> {
    const text = this.#lines.join("");
    this.#lines = [];
    if (text !== "") await print(text);
  }
}
