/** `holdfast stream`: append to streams of the shared log, read and follow them. */
import type { Command } from "commander";
import type { StreamEntry } from "../member/index.ts";
import { bytesText, countText, printJson, printLine } from "./output.ts";
import { contentOf, textOfContent } from "./queue.ts";
import { addTargetOptions, interruptSignal, parseWhole, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

export function addTo(command: Command): void {
  addAppend(command);
  addRead(command);
  addTail(command);
  addInfo(command);
  addList(command);
  addTrim(command);
  addRetain(command);
  addDelete(command);
  command.addHelpText(
    "after",
    `
Examples:
  $ holdfast stream append orders '{"item": 7}'
  $ holdfast stream tail orders --from 0
  $ holdfast stream retain orders --count 100000`,
  );
}

function addAppend(parent: Command): void {
  addTargetOptions(parent.command("append").description("append values; prints the position of the first"))
    .argument("<stream>", "the stream")
    .argument("<values...>", "each JSON, or else text; together or not at all")
    .option("--expect <position>", "only if the tail is this", parseWhole)
    .addHelpText("after", "\nExamples:\n  $ holdfast stream append orders hello")
    .action(async (name: string, values: readonly string[], options: TargetOptions & { readonly expect?: number }) => {
      await withStore(options, async (store) => {
        const position = await store.log(name).appendMany(values.map(contentOf), { expectedTail: options.expect });
        if (options.json) await printJson({ position });
        else await printLine(String(position));
      });
    });
}

function addRead(parent: Command): void {
  addTargetOptions(parent.command("read").description("print what is there"))
    .argument("<stream>", "the stream")
    .option("--from <position>", "the first; default: the start", parseWhole)
    .option("--limit <count>", "at most so many", parseWhole)
    .option("--reverse", "the newest first")
    .addHelpText("after", "\nExamples:\n  $ holdfast stream read orders --limit 10 --reverse")
    .action(async (name: string, options: TargetOptions & ReadFlags) => {
      const { from, limit, reverse } = options;
      await withStore(options, async (store) => {
        for await (const entry of store.log(name).read({ from, limit, reverse })) await printEntry(entry, options);
      });
    });
}

interface ReadFlags {
  readonly from?: number;
  readonly limit?: number;
  readonly reverse?: boolean;
}

function addTail(parent: Command): void {
  addTargetOptions(parent.command("tail").description("print what comes, until Ctrl-C"))
    .argument("<stream>", "the stream")
    .option("--from <position>", "from here on; default: the tail of now", parseWhole)
    .option("--group <name>", "as one of a group: goes on where the group was, and notes how far it is")
    .addHelpText(
      "after",
      "\nExamples:\n  $ holdfast stream tail orders --from 0\n  $ holdfast stream tail orders --group billing",
    )
    .action(async (name: string, options: TargetOptions & { readonly from?: number; readonly group?: string }) => {
      const signal = interruptSignal();
      await withStore(options, async (store) => {
        const stream = store.log(name);
        if (options.group === undefined) {
          for await (const entry of stream.tail({ from: options.from, signal })) await printEntry(entry, options);
          return;
        }
        const group = stream.group(options.group);
        if (options.from !== undefined) await group.commit(options.from);
        for await (const batch of group.consume({ signal })) {
          for (const entry of batch.entries) await printEntry(entry, options);
          await batch.commit();
        }
      });
    });
}

async function printEntry(
  { position, value, revision, timeMs }: StreamEntry<unknown>,
  { json }: TargetOptions,
): Promise<void> {
  if (json) await printJson({ position, value, revision, timeMs });
  else await printLine(`${position}\t${textOfContent(value)}`);
}

function addInfo(parent: Command): void {
  addTargetOptions(parent.command("info").description("how far a stream reaches, and its groups"))
    .argument("<stream>", "the stream")
    .addHelpText("after", "\nExamples:\n  $ holdfast stream info orders")
    .action(async (name: string, options: TargetOptions) => {
      await withStore(options, async (store) => {
        const stream = store.log(name);
        const info = await stream.info();
        const groups = await Array.fromAsync(stream.groups());
        if (options.json) {
          await printJson({ ...info, groups });
          return;
        }
        const { start, tail, size } = info;
        await printLine(`from ${start} to below ${tail}: ${countText(tail - start)} entries, ${bytesText(size)}`);
        for (const { name: group, position, lag } of groups) {
          await printLine(`group ${group}\tat ${position}\t${countText(lag)} behind`);
        }
      });
    });
}

function addList(parent: Command): void {
  addTargetOptions(parent.command("list").description("the streams"))
    .argument("[prefix]", "only those whose names begin so")
    .addHelpText("after", "\nExamples:\n  $ holdfast stream list")
    .action(async (prefix: string | undefined, options: TargetOptions) => {
      await withStore(options, async (store) => {
        for await (const stream of store.logs({ prefix })) {
          const { name, start, tail, size } = stream;
          if (options.json) await printJson(stream);
          else await printLine(`${name}\t${countText(tail - start)}\t${bytesText(size)}`);
        }
      });
    });
}

function addTrim(parent: Command): void {
  addTargetOptions(parent.command("trim").description("forget what is before a position; prints the new start"))
    .argument("<stream>", "the stream")
    .argument("<before>", "the position", parseWhole)
    .addHelpText("after", "\nExamples:\n  $ holdfast stream trim orders 1000")
    .action(async (name: string, before: number, options: TargetOptions) => {
      await withStore(options, async (store) => {
        const start = await store.log(name).trim(before);
        if (options.json) await printJson({ start });
        else await printLine(String(start));
      });
    });
}

function addRetain(parent: Command): void {
  addTargetOptions(parent.command("retain").description("set what is kept; what is not named has no bound"))
    .argument("<stream>", "the stream")
    .option("--count <number>", "so many entries", parseWhole)
    .option("--size <bytes>", "so many bytes", parseWhole)
    .option("--age <ms>", "entries that are not older", parseWhole)
    .addHelpText("after", "\nExamples:\n  $ holdfast stream retain orders --count 100000 --age 86400000")
    .action(async (name: string, options: TargetOptions & RetainFlags) => {
      const { count: countMax, size: sizeMax, age: ageMaxMs } = options;
      await withStore(options, async (store) => {
        await store.log(name).retain({ countMax, sizeMax, ageMaxMs });
        const { retention } = await store.log(name).info();
        if (options.json) await printJson(retention);
        else
          await printLine(
            Object.entries(retention)
              .map(([what, bound]) => `${what} ${bound}`)
              .join(", "),
          );
      });
    });
}

interface RetainFlags {
  readonly count?: number;
  readonly size?: number;
  readonly age?: number;
}

function addDelete(parent: Command): void {
  addTargetOptions(parent.command("delete").description("delete a stream, with its groups"))
    .argument("<stream>", "the stream")
    .addHelpText("after", "\nExamples:\n  $ holdfast stream delete orders")
    .action(async (name: string, options: TargetOptions) => {
      await withStore(options, async (store) => {
        await store.log(name).delete();
        if (options.json) await printJson({});
        else await printLine(`stream ${name} was deleted`);
      });
    });
}
