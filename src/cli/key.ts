/** `holdfast key`: put, get, list, delete, watch, history, compact; import and export are in their own file. */
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { KeyChoice, KeyEvent, KeyRecord } from "../member/index.ts";
import { addExport, addImport } from "./key-transfer.ts";
import { formatValue } from "./json-lines.ts";
import { countText, dim, lineForPeople, print, printJson, printLine, remark, textOf, UsageError } from "./output.ts";
import { addTargetOptions, interruptSignal, parseCount, parseLease, parseWhole, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

export function addTo(command: Command): void {
  addPut(command);
  addGet(command);
  addList(command);
  addDelete(command);
  addWatch(command);
  addHistory(command);
  addCompact(command);
  addImport(command);
  addExport(command);
  command.addHelpText(
    "after",
    `
Examples:
  $ holdfast key put user/1 '{"name":"Ada"}'
  $ holdfast key get user/1
  $ holdfast key list user/ --keys-only
  $ holdfast key watch --prefix user/ --from 1
  $ holdfast key import records.jsonl --key id --prefix user/`,
  );
}

interface PutOptions extends TargetOptions {
  readonly ifRevision?: number;
  readonly ifAbsent?: boolean;
  readonly lease?: bigint;
}

function addPut(parent: Command): void {
  addTargetOptions(parent.command("put").description("write a key; prints the revision"))
    .argument("<key>")
    .argument("[value]", "the value; absent or -: read it from standard input")
    .option("--if-revision <revision>", "only if the key was last changed at this revision", parseWhole)
    .option("--if-absent", "only if the key does not exist")
    .option("--lease <id>", "the lease with which the key goes", parseLease)
    .addHelpText(
      "after",
      "\nExamples:\n  $ holdfast key put greeting hello\n  $ holdfast key put photo < photo.jpg\n  $ holdfast key put lock me --if-absent",
    )
    .action(async (key: string, value: string | undefined, options: PutOptions) => {
      const content = value === undefined || value === "-" ? await readStandardInput() : value;
      await withStore(options, async (store) => {
        const revision = await store.keys.put(key, content, {
          ...(options.ifRevision !== undefined && { ifRevision: options.ifRevision }),
          ...(options.ifAbsent === true && { ifAbsent: true }),
          ...(options.lease !== undefined && { lease: options.lease }),
        });
        if (options.json) await printJson({ key, revision });
        else await printLine(`revision ${revision}`);
      });
    });
}

interface GetOptions extends TargetOptions {
  readonly at?: number;
  readonly raw?: boolean;
}

function addGet(parent: Command): void {
  addTargetOptions(parent.command("get").description("print the value of a key"))
    .argument("<key>")
    .option("--at <revision>", "as it was at this revision", parseWhole)
    .option("--raw", "the bytes alone, without a line break at the end")
    .addHelpText(
      "after",
      "\nExamples:\n  $ holdfast key get greeting\n  $ holdfast key get greeting --at 17\n  $ holdfast key get photo --raw > photo.jpg",
    )
    .action(async (key: string, options: GetOptions) => {
      await withStore(options, async (store) => {
        const keys = options.at === undefined ? store.keys : store.at(options.at).keys;
        const record = await keys.get(key);
        if (record === undefined) {
          const when = options.at === undefined ? "" : ` at revision ${options.at}`;
          throw new HoldfastError("notFound", `key ${JSON.stringify(key)} does not exist${when}`);
        }
        if (options.json) await printJson(recordJson(record));
        else if (options.raw === true || textOf(record.bytes) === undefined) await print(record.bytes);
        else await printLine(record.text());
      });
    });
}

interface ListOptions extends TargetOptions {
  readonly start?: string;
  readonly end?: string;
  readonly limit?: number;
  readonly reverse?: boolean;
  readonly keysOnly?: boolean;
  readonly count?: boolean;
  readonly at?: number;
}

function addList(parent: Command): void {
  addTargetOptions(parent.command("list").description("print keys and values, in key order"))
    .argument("[prefix]", "only keys that start with this")
    .option("--start <key>", "the first key, included (instead of a prefix)")
    .option("--end <key>", "the end, excluded")
    .option("--limit <count>", "at most so many", parseWhole)
    .option("--reverse", "from the last to the first")
    .option("--keys-only", "without the values")
    .option("--count", "only how many there are")
    .option("--at <revision>", "as it was at this revision", parseWhole)
    .addHelpText("after", "\nExamples:\n  $ holdfast key list user/ --limit 10\n  $ holdfast key list --count")
    .action(async (prefix: string | undefined, options: ListOptions) => {
      if (prefix !== undefined && (options.start !== undefined || options.end !== undefined)) {
        throw new UsageError("give either a prefix or --start and --end, not both");
      }
      const range: KeyChoice = prefix === undefined ? { start: options.start, end: options.end } : { prefix };
      await withStore(options, async (store) => {
        const keys = options.at === undefined ? store.keys : store.at(options.at).keys;
        if (options.count === true) {
          const count = await keys.count(range);
          if (options.json) await printJson({ count });
          else await printLine(String(count));
          return;
        }
        const list = keys.list({
          ...range,
          limit: options.limit,
          reverse: options.reverse === true,
          keysOnly: options.keysOnly === true,
        });
        let lines: string[] = [];
        for await (const record of list) {
          lines.push(listLine(record, options));
          if (lines.length < 256) continue;
          await print(lines.join(""));
          lines = [];
        }
        await print(lines.join(""));
      });
    });
}

function listLine(record: KeyRecord, options: ListOptions): string {
  const keyBytes = record.keyBytes;
  if (options.json) return `${JSON.stringify(recordJson(record, options.keysOnly))}\n`;
  if (options.keysOnly === true) return `${lineForPeople(keyBytes)}\n`;
  return `${lineForPeople(keyBytes)}\t${lineForPeople(record.bytes)}\n`;
}

function addDelete(parent: Command): void {
  addTargetOptions(parent.command("delete").description("delete keys; prints how many there were"))
    .argument("[keys...]")
    .option("--prefix <prefix>", "every key that starts with this, at one revision")
    .addHelpText("after", "\nExamples:\n  $ holdfast key delete greeting\n  $ holdfast key delete --prefix user/")
    .action(async (names: readonly string[], options: TargetOptions & { readonly prefix?: string }) => {
      if ((names.length === 0) === (options.prefix === undefined)) {
        throw new UsageError("name the keys to delete, or --prefix, and not both");
      }
      await withStore(options, async (store) => {
        let count = 0;
        if (options.prefix !== undefined) {
          count = (await store.keys.delete({ prefix: options.prefix })).count;
        } else {
          for (const name of names) count += (await store.keys.delete(name)).count;
        }
        if (options.json) await printJson({ deleted: count });
        else await printLine(`deleted ${countText(count)}`);
      });
    });
}

interface WatchCommandOptions extends TargetOptions {
  readonly prefix?: string;
  readonly from?: number;
  readonly previous?: boolean;
  readonly limit?: number;
}

function addWatch(parent: Command): void {
  addTargetOptions(parent.command("watch").description("print changes as they happen, until Ctrl-C"))
    .argument("[key]", "the key to watch")
    .option("--prefix <prefix>", "every key that starts with this ('' for all)")
    .option("--from <revision>", "start with the changes of this revision; default: the next one", parseWhole)
    .option("--previous", "show the values before")
    .option("--limit <count>", "stop after so many changes", parseCount)
    .addHelpText(
      "after",
      "\nExamples:\n  $ holdfast key watch greeting\n  $ holdfast key watch --prefix user/ --from 1",
    )
    .action(async (key: string | undefined, options: WatchCommandOptions) => {
      if ((key === undefined) === (options.prefix === undefined)) {
        throw new UsageError("name a key to watch, or --prefix, and not both");
      }
      const signal = interruptSignal();
      await withStore(options, async (store) => {
        if (!options.json && process.stderr.isTTY)
          remark(dim(`watching ${key ?? `${options.prefix ?? ""}…`}; Ctrl-C stops`));
        let left = options.limit ?? Infinity;
        const events = store.keys.watch({
          ...(key === undefined ? { prefix: options.prefix ?? "" } : { key }),
          ...(options.from !== undefined && { from: options.from }),
          previous: options.previous === true,
          signal,
        });
        try {
          for await (const event of events) {
            if (options.json) await printJson(eventJson(event));
            else await printLine(eventLine(event));
            if (--left <= 0) return;
          }
        } catch (error) {
          if (!signal.aborted) throw error;
        }
      });
    });
}

function eventLine(event: KeyEvent, withPrevious = true): string {
  const key = lineForPeople(event.keyBytes);
  const { previous } = event;
  const before = previous === undefined || !withPrevious ? "" : dim(`  (was ${lineForPeople(previous.bytes)})`);
  const value = event.type === "put" ? `\t${lineForPeople(event.record.bytes)}` : "";
  return `${event.revision}\t${event.type}\t${key}${value}${before}`;
}

function eventJson(event: KeyEvent, withPrevious = true): unknown {
  return {
    revision: event.revision,
    type: event.type,
    ...(event.type === "put" ? recordJson(event.record) : keyJson(event.keyBytes)),
    ...(withPrevious && event.previous !== undefined && { previous: formatValue(event.previous.bytes) }),
  };
}

function addHistory(parent: Command): void {
  addTargetOptions(parent.command("history").description("print the retained versions of a key, the oldest first"))
    .argument("<key>")
    .addHelpText("after", "\nExamples:\n  $ holdfast key history greeting")
    .action(async (key: string, options: TargetOptions) => {
      await withStore(options, async (store) => {
        for await (const event of store.keys.history(key)) {
          // Not what was before: that is in the line above.
          if (options.json) await printJson(eventJson(event, false));
          else await printLine(eventLine(event, false));
        }
      });
    });
}

function addCompact(parent: Command): void {
  addTargetOptions(parent.command("compact").description("forget the history before a revision"))
    .argument("<revision>", "the oldest revision that stays readable", parseWhole)
    .addHelpText("after", "\nExamples:\n  $ holdfast key compact 100000")
    .action(async (revision: number, options: TargetOptions) => {
      await withStore(options, async (store) => {
        await store.keys.compact(revision);
        if (options.json) await printJson({ compacted: revision });
        else await printLine(`compacted to revision ${revision}`);
      });
    });
}

function keyJson(key: Uint8Array): { key?: string; key64?: string } {
  const text = textOf(key);
  return text === undefined ? { key64: Buffer.from(key).toString("base64") } : { key: text };
}

function recordJson(record: KeyRecord, keysOnly = false): Record<string, unknown> {
  return {
    ...keyJson(record.keyBytes),
    ...(keysOnly ? {} : formatValue(record.bytes)),
    revision: record.revision,
    createRevision: record.createRevision,
    version: record.version,
    ...(record.lease !== undefined && { lease: String(record.lease) }),
  };
}

async function readStandardInput(): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  if (process.stdin.isTTY) remark(dim("reading the value from the terminal; Ctrl-D ends it"));
  for await (const chunk of process.stdin) chunks.push(chunk as Uint8Array);
  return new Uint8Array(Buffer.concat(chunks));
}
