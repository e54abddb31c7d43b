/**
 * `holdfast key import` and `export`: JSON lines in and out, many records under way at once, with a progress bar.
 *
 * An import can be repeated: each record is put under its own key, and it counts as
 * imported only when the store has acknowledged it. After a failure every acknowledged record is there; importing the
 * whole file again completes it.
 */
import { createReadStream, createWriteStream } from "node:fs";
import type { Stats } from "node:fs";
import { stat } from "node:fs/promises";
import { once } from "node:events";
import type { Command } from "commander";
import { HoldfastError, Signal } from "../base/index.ts";
import type { Store } from "../member/index.ts";
import { formatLine, parseLine } from "./json-lines.ts";
import type { Line } from "./json-lines.ts";
import { readLines } from "./lines.ts";
import { countText, print, printJson, printLine, remark } from "./output.ts";
import { Progress } from "./progress.ts";
import { addTargetOptions, parseCount, parseWhole, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

interface ImportOptions extends TargetOptions {
  readonly key?: string;
  readonly prefix?: string;
  readonly inFlight: number;
}

export function addImport(parent: Command): void {
  addTargetOptions(parent.command("import").description("put every record of a JSON lines file"))
    .argument("<file>", "the file; - for standard input")
    .option("--key <field>", "each line is a value, its key is this field of it")
    .option("--prefix <prefix>", "put this before every key")
    .option("--in-flight <count>", "how many records are under way at once", parseCount, 256)
    .addHelpText(
      "after",
      `
A line is {"key": …, "value": JSON} or "text" or "base64" in place of "value", as export writes it.

Examples:
  $ holdfast key import backup.jsonl
  $ holdfast key import packages.jsonl --key Package --prefix debian/`,
    )
    .action(async (file: string, options: ImportOptions) => {
      await withStore(options, (store) => importFile(store, file, options));
    });
}

async function importFile(store: Store, file: string, options: ImportOptions): Promise<void> {
  const fromFile = file !== "-";
  const place = fromFile ? file : "line";
  const sizeTotal = fromFile ? await fileSize(file) : undefined;
  const input = fromFile ? createReadStream(file, { highWaterMark: 1 << 18 }) : process.stdin;
  const progress = new Progress({
    label: "importing",
    noun: "records",
    ...(sizeTotal !== undefined && { sizeTotal }),
  });
  const puts = new PutPipeline(store, options.inFlight, (count, size) => progress.update(count, size));
  let lineNumber = 0;
  try {
    for await (const lines of readLines(input, place)) {
      for (const { text, size } of lines) {
        lineNumber++;
        if (text.trim() === "") continue;
        const where = `${place}:${lineNumber}`;
        const record = parseLine(text, { keyField: options.key, prefix: options.prefix, place: where });
        await puts.add(record, size);
      }
    }
    await puts.finish();
  } catch (error) {
    await puts.settled();
    progress.clear();
    if (options.json) await printJson({ imported: puts.count, revision: puts.revision, complete: false });
    else remark(`stopped after line ${countText(lineNumber)}; acknowledged: ${progress.account}`);
    throw error;
  }
  progress.clear();
  if (options.json) await printJson({ imported: puts.count, revision: puts.revision, complete: true });
  else await printLine(`imported ${progress.account}; revision ${countText(puts.revision)}`);
}

/** Keeps up to `inFlight` puts under way and counts those acknowledged. The first failure stops it. */
class PutPipeline {
  readonly #store: Store;
  readonly #inFlight: number;
  readonly #acknowledged: (count: number, size: number) => void;
  readonly #done = new Signal();
  #active = 0;
  #count = 0;
  #size = 0;
  #revision = 0;
  #failure: unknown;

  constructor(store: Store, inFlight: number, acknowledged: (count: number, size: number) => void) {
    this.#store = store;
    this.#inFlight = inFlight;
    this.#acknowledged = acknowledged;
  }

  /** Puts that the store has acknowledged. */
  get count(): number {
    return this.#count;
  }

  /** The highest revision of an acknowledged put; 0 before the first. */
  get revision(): number {
    return this.#revision;
  }

  /** Starts a put; waits only while too many are under way. */
  async add({ key, value }: Line, size: number): Promise<void> {
    while (this.#active >= this.#inFlight && this.#failure === undefined) await this.#done.wait();
    if (this.#failure !== undefined) throw this.#failure;
    this.#active++;
    void this.#put(key, value, size);
  }

  async #put(key: Uint8Array, value: Uint8Array, size: number): Promise<void> {
    try {
      const revision = await this.#store.keys.put(key, value);
      this.#count++;
      this.#size += size;
      this.#revision = Math.max(this.#revision, revision);
      this.#acknowledged(this.#count, this.#size);
    } catch (error) {
      this.#failure ??= error;
    }
    this.#active--;
    this.#done.notify();
  }

  async settled(): Promise<void> {
    while (this.#active > 0) await this.#done.wait();
  }

  /** Waits for every acknowledgement; throws the first failure. */
  async finish(): Promise<void> {
    await this.settled();
    if (this.#failure !== undefined) throw this.#failure;
  }
}

async function fileSize(file: string): Promise<number | undefined> {
  let stats: Stats;
  try {
    stats = await stat(file);
  } catch (error) {
    throw new HoldfastError("notFound", `cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
  if (stats.isDirectory()) throw new HoldfastError("invalid", `cannot read ${file}: it is a directory`);
  // A pipe has no size.
  return stats.isFile() ? stats.size : undefined;
}

interface ExportOptions extends TargetOptions {
  readonly output?: string;
  readonly at?: number;
}

export function addExport(parent: Command): void {
  addTargetOptions(parent.command("export").description("write keys and values as JSON lines, all of one revision"))
    .argument("[prefix]", "only keys that start with this", "")
    .option("-o, --output <file>", "write to this file instead of standard output")
    .option("--at <revision>", "as it was at this revision", parseWhole)
    .addHelpText(
      "after",
      "\nExamples:\n  $ holdfast key export > backup.jsonl\n  $ holdfast key export user/ -o users.jsonl",
    )
    .action(async (prefix: string, options: ExportOptions) => {
      await withStore(options, (store) => exportKeys(store, prefix, options));
    });
}

async function exportKeys(store: Store, prefix: string, options: ExportOptions): Promise<void> {
  const progress = new Progress({ label: "exporting", noun: "records" });
  const write = options.output === undefined ? { line: print, end: async () => {} } : fileWriter(options.output);
  const keys = options.at === undefined ? store.keys : store.at(options.at).keys;
  let count = 0;
  let size = 0;
  let lines: string[] = [];
  const flush = async () => {
    const text = lines.join("");
    lines = [];
    size += text.length;
    await write.line(text);
    progress.update(count, size);
  };
  for await (const record of keys.list({ prefix })) {
    lines.push(`${formatLine({ key: record.keyBytes, value: record.bytes })}\n`);
    count++;
    if (lines.length >= 256) await flush();
  }
  await flush();
  await write.end();
  progress.clear();
  // Standard output is the result itself unless a file was named.
  const summary = `exported ${progress.account}`;
  if (options.output !== undefined) await (options.json ? printJson({ exported: count }) : printLine(summary));
  else if (process.stderr.isTTY) remark(summary);
}

function fileWriter(path: string): { line(text: string): Promise<void>; end(): Promise<void> } {
  const stream = createWriteStream(path);
  let failure: Error | undefined;
  stream.on("error", (error) => (failure = error));
  const check = () => {
    if (failure !== undefined) throw new HoldfastError("unavailable", `cannot write ${path}: ${failure.message}`);
  };
  return {
    async line(text) {
      check();
      if (!stream.write(text)) await once(stream, "drain").catch(() => {});
      check();
    },
    async end() {
      stream.end();
      if (failure === undefined) await once(stream, "finish").catch(() => {});
      check();
    },
  };
}
