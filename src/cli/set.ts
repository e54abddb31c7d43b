/** `holdfast set`: distinct members that are kept. */
import type { Command } from "commander";
import { keyOf, shown, valueText } from "./keyed-value.ts";
import type { KeyOptions } from "./keyed-value.ts";
import { ChildEnded, printJson, printLine } from "./output.ts";
import { addTargetOptions, parseWhole, withStore } from "./target.ts";

export function addTo(command: Command): void {
  addChange(command, "add");
  addChange(command, "delete");
  addHas(command);
  addList(command);
  command.addHelpText("after", "\nExamples:\n  $ holdfast set add online ada bob\n  $ holdfast set list online");
}

const memberHelp = "the members are numbers";

function addChange(parent: Command, what: "add" | "delete"): void {
  const done = what === "add" ? "added" : "deleted";
  addTargetOptions(parent.command(what).description(`${what} members; prints how many were ${done}`))
    .argument("<set>")
    .argument("<members...>")
    .option("--number", memberHelp)
    .addHelpText("after", `\nExamples:\n  $ holdfast set ${what} online ada bob`)
    .action(async (name: string, members: readonly string[], options: KeyOptions) => {
      await withStore(options, async (store) => {
        const set = store.set(name);
        let count = 0;
        for (const member of members) if (await set[what](keyOf(member, options))) count++;
        await (options.json === true ? printJson({ [done]: count }) : printLine(`${done} ${count}`));
      });
    });
}

function addHas(parent: Command): void {
  addTargetOptions(parent.command("has").description("whether it has a member; if not, the exit status is 1"))
    .argument("<set>")
    .argument("<member>")
    .option("--number", memberHelp)
    .addHelpText("after", "\nExamples:\n  $ holdfast set has online ada && echo yes")
    .action(async (name: string, member: string, options: KeyOptions) => {
      await withStore(options, async (store) => {
        const has = await store.set(name).has(keyOf(member, options));
        if (options.json === true) await printJson({ has });
        if (!has) throw new ChildEnded(1);
      });
    });
}

interface ListOptions extends KeyOptions {
  readonly prefix?: string;
  readonly limit?: number;
  readonly reverse?: boolean;
  readonly count?: boolean;
}

function addList(parent: Command): void {
  addTargetOptions(parent.command("list").description("the members in order: numbers, then text"))
    .argument("<set>")
    .option("--prefix <text>", "only members that begin with this")
    .option("--limit <count>", "at most so many", parseWhole)
    .option("--reverse", "from the last to the first")
    .option("--count", "only how many there are")
    .addHelpText("after", "\nExamples:\n  $ holdfast set list online --prefix a")
    .action(async (name: string, options: ListOptions) => {
      const { prefix, limit, reverse } = options;
      await withStore(options, async (store) => {
        const set = store.set(name);
        if (options.count === true) return printLine(String(await set.size({ prefix })));
        for await (const member of set.list({ prefix, limit, reverse })) {
          await (options.json === true ? printJson(shown(member)) : printLine(valueText(member)));
        }
      });
    });
}
