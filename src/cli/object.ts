/** `holdfast object`: what objects of a type there are. Their commands are code, and run from TypeScript. */
import type { Command } from "commander";
import { lineForTerminal, printJson, printLine } from "./output.ts";
import { addTargetOptions, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

export function addTo(command: Command): void {
  addTargetOptions(command.command("list").description("the keys of the objects of a type, in order"))
    .argument("<type>", "the name that defineObject was given")
    .option("--prefix <text>", "only those whose keys begin with this")
    .addHelpText("after", "\nExamples:\n  $ holdfast object list cart")
    .action(async (type: string, options: TargetOptions & { readonly prefix?: string }) => {
      await withStore(options, async (store) => {
        for await (const key of store.objects({ type }, { prefix: options.prefix })) {
          await (options.json === true ? printJson({ type, key }) : printLine(lineForTerminal(key)));
        }
      });
    });
  command.addHelpText("after", "\nExamples:\n  $ holdfast object list cart --prefix customer/");
}
