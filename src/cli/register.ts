/** `holdfast register`: one value with a name. */
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import { shown, valueOf, valueText } from "./keyed-value.ts";
import { printJson, printLine } from "./output.ts";
import { addTargetOptions, interruptSignal, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

export function addTo(command: Command): void {
  addGet(command);
  addSet(command);
  addDelete(command);
  addWatch(command);
  command.addHelpText(
    "after",
    `
A value is JSON; what is not is taken as text.

Examples:
  $ holdfast register set motto "hold fast"
  $ holdfast register get motto`,
  );
}

async function show(value: unknown, { json }: TargetOptions): Promise<void> {
  await (json === true ? printJson(shown(value)) : printLine(value === undefined ? "(not set)" : valueText(value)));
}

function addGet(parent: Command): void {
  addTargetOptions(parent.command("get").description("print the value"))
    .argument("<name>")
    .addHelpText("after", "\nExamples:\n  $ holdfast register get motto")
    .action(async (name: string, options: TargetOptions) => {
      await withStore(options, async (store) => {
        const value = await store.register(name).get();
        if (value === undefined) throw new HoldfastError("notFound", `the register ${name} is not set`);
        await show(value, options);
      });
    });
}

function addSet(parent: Command): void {
  addTargetOptions(parent.command("set").description("set the value"))
    .argument("<name>")
    .argument("<value>", "JSON, or text")
    .option("--expected <value>", "only if it is this; JSON, or text")
    .option("--if-absent", "only if it is not set")
    .addHelpText(
      "after",
      '\nExamples:\n  $ holdfast register set motto "hold fast"\n  $ holdfast register set state done --expected busy',
    )
    .action(async (name: string, text: string, options: SetOptions) => {
      const { expected, ifAbsent } = options;
      await withStore(options, async (store) => {
        const register = store.register(name);
        const value = valueOf(text);
        if (expected === undefined && ifAbsent !== true) await register.set(value);
        else if (!(await register.compareAndSet(expected === undefined ? undefined : valueOf(expected), value))) {
          const wanted = expected === undefined ? "is set already" : `is not ${expected}`;
          throw new HoldfastError("conflict", `the register ${name} ${wanted}`);
        }
        await show(value, options);
      });
    });
}

interface SetOptions extends TargetOptions {
  readonly expected?: string;
  readonly ifAbsent?: boolean;
}

function addDelete(parent: Command): void {
  addTargetOptions(parent.command("delete").description("delete the value; prints how many were deleted"))
    .argument("<name>")
    .addHelpText("after", "\nExamples:\n  $ holdfast register delete motto")
    .action(async (name: string, options: TargetOptions) => {
      await withStore(options, async (store) => {
        const deleted = (await store.register(name).delete()) ? 1 : 0;
        await (options.json === true ? printJson({ deleted }) : printLine(`deleted ${deleted}`));
      });
    });
}

function addWatch(parent: Command): void {
  addTargetOptions(parent.command("watch").description("print the value now, and after changes"))
    .argument("<name>")
    .addHelpText("after", "\nExamples:\n  $ holdfast register watch motto")
    .action(async (name: string, options: TargetOptions) => {
      await withStore(options, async (store) => {
        const signal = interruptSignal();
        for await (const value of store.register(name).watch({ signal })) await show(value, options);
      });
    });
}
