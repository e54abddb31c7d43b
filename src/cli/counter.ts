/** `holdfast counter`: add to, read, set, delete and list counters. */
import { InvalidArgumentError } from "commander";
import type { Command } from "commander";
import { lineForTerminal, printJson, printLine } from "./output.ts";
import { addTargetOptions, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

export function addTo(command: Command): void {
  addAdd(command);
  addGet(command);
  addSet(command);
  addDelete(command);
  addNext(command);
  addList(command);
  command.addHelpText(
    "after",
    `
Examples:
  $ holdfast counter add visits
  $ holdfast counter add --min 0 stock -- -2
  $ holdfast counter list`,
  );
}

async function show(name: string, value: number, { json }: TargetOptions): Promise<void> {
  await (json === true ? printJson({ name, value }) : printLine(String(value)));
}

interface AddOptions extends TargetOptions {
  readonly min?: number;
  readonly max?: number;
}

function addAdd(parent: Command): void {
  addTargetOptions(parent.command("add").description("add to a counter; prints the sum"))
    .argument("<name>")
    .argument("[amount]", "how much; default 1", parseInteger, 1)
    .option("--min <value>", "fail rather than fall below this", parseInteger)
    .option("--max <value>", "fail rather than rise above this", parseInteger)
    .addHelpText("after", "\nExamples:\n  $ holdfast counter add visits\n  $ holdfast counter add --min 0 stock -- -2")
    .action(async (name: string, amount: number, options: AddOptions) => {
      const { min, max } = options;
      await withStore(options, async (store) =>
        show(name, await store.counter(name).add(amount, { min, max }), options),
      );
    });
}

function addNext(parent: Command): void {
  addTargetOptions(parent.command("next").description("the next number of a sequence: no number is given twice"))
    .argument("<name>", "the counter that keeps the sequence")
    .addHelpText("after", "\nExamples:\n  $ holdfast counter next invoice")
    .action(async (name: string, options: TargetOptions) => {
      await withStore(options, async (store) =>
        show(name, await store.sequence(name, { blockSize: 1 }).next(), options),
      );
    });
}

function addGet(parent: Command): void {
  addTargetOptions(parent.command("get").description("print a counter; 0 if it was never changed"))
    .argument("<name>")
    .addHelpText("after", "\nExamples:\n  $ holdfast counter get visits")
    .action(async (name: string, options: TargetOptions) => {
      await withStore(options, async (store) => show(name, await store.counter(name).get(), options));
    });
}

function addSet(parent: Command): void {
  addTargetOptions(parent.command("set").description("set a counter"))
    .argument("<name>")
    .argument("<value>", "a whole number", parseInteger)
    .option("--expected <value>", "only if it is this", parseInteger)
    .addHelpText(
      "after",
      "\nExamples:\n  $ holdfast counter set stock 10\n  $ holdfast counter set stock 0 --expected 10",
    )
    .action(async (name: string, value: number, options: TargetOptions & { readonly expected?: number }) => {
      const { expected } = options;
      await withStore(options, async (store) => {
        await store.counter(name).set(value, { expected });
        await show(name, value, options);
      });
    });
}

function addDelete(parent: Command): void {
  addTargetOptions(parent.command("delete").description("delete a counter: it is 0 then, and not in the list"))
    .argument("<name>")
    .addHelpText("after", "\nExamples:\n  $ holdfast counter delete visits")
    .action(async (name: string, options: TargetOptions) => {
      await withStore(options, async (store) => {
        await store.counter(name).delete();
        if (options.json === true) await printJson({ name });
      });
    });
}

function addList(parent: Command): void {
  addTargetOptions(parent.command("list").description("counters and their values, in the order of their names"))
    .argument("[prefix]", "only those whose names begin with this")
    .addHelpText("after", "\nExamples:\n  $ holdfast counter list\n  $ holdfast counter list visits/")
    .action(async (prefix: string | undefined, options: TargetOptions) => {
      await withStore(options, async (store) => {
        for await (const { name, value } of store.counters({ prefix })) {
          if (options.json === true) await printJson({ name, value });
          else await printLine(`${lineForTerminal(name)}\t${value}`);
        }
      });
    });
}

function parseInteger(text: string): number {
  const value = Number(text);
  if (/^-?\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError("It must be a whole number.");
}
