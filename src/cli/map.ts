/** `holdfast map`: get, set, delete and list the entries of maps; define and read their indexes. */
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { Store } from "../member/index.ts";
import { lineForTerminal, plural, printJson, printLine, UsageError } from "./output.ts";
import { keyOf, numberHelp, shown, valueOf, valueText } from "./keyed-value.ts";
import type { KeyOptions } from "./keyed-value.ts";
import { addTargetOptions, parseWhole, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

export function addTo(command: Command): void {
  addGet(command);
  addSet(command);
  addDelete(command);
  addList(command);
  addIndex(command);
  command.addHelpText(
    "after",
    `
A value is JSON; what is not is taken as text.

Examples:
  $ holdfast map set users ada '{"email":"ada@example.org","age":36}'
  $ holdfast map get users ada
  $ holdfast map index users byEmail --path email --unique
  $ holdfast map list users --index byEmail --value ada@example.org`,
  );
}

function addGet(parent: Command): void {
  addTargetOptions(parent.command("get").description("print the value of an entry"))
    .argument("<map>")
    .argument("<key>")
    .option("--number", numberHelp)
    .addHelpText("after", "\nExamples:\n  $ holdfast map get users ada\n  $ holdfast map get scores 17 --number")
    .action(async (name: string, key: string, options: KeyOptions) => {
      await withStore(options, async (store) => {
        const entry = await store.map(name).getEntry(keyOf(key, options));
        if (entry === undefined) throw new HoldfastError("notFound", `map ${name} has no key ${JSON.stringify(key)}`);
        if (options.json === true) await printJson({ ...entry, value: shown(entry.value) });
        else await printLine(valueText(entry.value));
      });
    });
}

interface SetOptions extends KeyOptions {
  readonly ifAbsent?: boolean;
  readonly ifRevision?: number;
}

function addSet(parent: Command): void {
  addTargetOptions(parent.command("set").description("set an entry; prints the revision"))
    .argument("<map>")
    .argument("<key>")
    .argument("<value>", "JSON, or text")
    .option("--number", numberHelp)
    .option("--if-absent", "only if the key does not exist")
    .option("--if-revision <revision>", "only if it was last set at this revision", parseWhole)
    .addHelpText(
      "after",
      "\nExamples:\n  $ holdfast map set users ada '{\"age\":36}'\n  $ holdfast map set scores 17 Bob --number",
    )
    .action(async (name: string, key: string, value: string, options: SetOptions) => {
      const { ifAbsent, ifRevision } = options;
      await withStore(options, async (store) => {
        const revision = await store.map(name).set(keyOf(key, options), valueOf(value), { ifAbsent, ifRevision });
        if (options.json === true) await printJson({ key: keyOf(key, options), revision });
        else await printLine(`revision ${revision}`);
      });
    });
}

function addDelete(parent: Command): void {
  addTargetOptions(parent.command("delete").description("delete entries, or with --all the whole map; prints how many"))
    .argument("<map>")
    .argument("[keys...]")
    .option("--number", "the keys are numbers")
    .option("--all", "all entries, the indexes, and the map")
    .addHelpText("after", "\nExamples:\n  $ holdfast map delete users ada bob\n  $ holdfast map delete users --all")
    .action(async (name: string, keys: readonly string[], options: KeyOptions & { readonly all?: boolean }) => {
      const all = options.all === true;
      if (all === keys.length > 0) throw new UsageError("name the keys, or give --all");
      await withStore(options, async (store) => {
        const map = store.map(name);
        let count = all ? await map.size() : 0;
        if (all) await map.drop();
        for (const key of keys) if (await map.delete(keyOf(key, options))) count++;
        if (options.json === true) await printJson({ deleted: count });
        else await printLine(`deleted ${count}`);
      });
    });
}

interface ListOptions extends KeyOptions {
  readonly prefix?: string;
  readonly start?: string;
  readonly end?: string;
  readonly limit?: number;
  readonly reverse?: boolean;
  readonly index?: string;
  readonly value?: string;
  readonly count?: boolean;
}

function addList(parent: Command): void {
  addTargetOptions(parent.command("list").description("the entries of a map in key order; without a name, the maps"))
    .argument("[map]")
    .option("--prefix <text>", "only keys that begin with this")
    .option("--start <key>", "the first key, or value of the index, included")
    .option("--end <key>", "the end, excluded")
    .option("--number", "start and end are numbers")
    .option("--limit <count>", "at most so many", parseWhole)
    .option("--reverse", "from the last to the first")
    .option("--index <name>", "in the order of this index")
    .option("--value <value>", "only entries that have this value in the index; JSON, or text")
    .option("--count", "only how many there are")
    .addHelpText("after", "\nExamples:\n  $ holdfast map list\n  $ holdfast map list users --prefix a --limit 10")
    .action(async (name: string | undefined, options: ListOptions) => {
      if (options.index === undefined && options.value !== undefined) throw new UsageError("--value needs --index");
      await withStore(options, async (store) => {
        if (name === undefined) await listMaps(store, options);
        else await listEntries(store, name, options);
      });
    });
}

async function listMaps(store: Store, { json }: TargetOptions): Promise<void> {
  for await (const name of store.maps()) await (json === true ? printJson({ name }) : printLine(lineForTerminal(name)));
}

async function listEntries(store: Store, name: string, options: ListOptions): Promise<void> {
  const { prefix, limit, reverse } = options;
  const start = options.start === undefined ? undefined : keyOf(options.start, options);
  const end = options.end === undefined ? undefined : keyOf(options.end, options);
  const map = store.map(name);
  const index = options.index === undefined ? undefined : map.index(options.index);
  const wanted = options.value === undefined ? undefined : (valueOf(options.value) as string);
  const range = { value: wanted, start, end };
  if (options.count === true) {
    const count = await (index?.count(range) ?? map.size({ start, end, prefix }));
    await (options.json === true ? printJson({ count }) : printLine(String(count)));
    return;
  }
  const entries = index?.entries({ ...range, limit, reverse }) ?? map.entries({ start, end, prefix, limit, reverse });
  for await (const { key, value, revision } of entries) {
    if (options.json === true) await printJson({ key: shown(key), value: shown(value), revision });
    else await printLine(`${valueText(key)}\t${valueText(value)}`);
  }
}

interface IndexOptions extends TargetOptions {
  readonly path?: string;
  readonly unique?: boolean;
  readonly multi?: boolean;
  readonly delete?: boolean;
}

function addIndex(parent: Command): void {
  addTargetOptions(
    parent.command("index").description("define or delete an index; without a name, the indexes of a map"),
  )
    .argument("<map>")
    .argument("[index]")
    .option("--path <path>", "which part of the values, names separated by points")
    .option("--unique", "no two entries have the same value")
    .option("--multi", "each element of an array counts")
    .option("--delete", "delete it")
    .addHelpText(
      "after",
      "\nExamples:\n  $ holdfast map index users byEmail --path email --unique\n  $ holdfast map index users",
    )
    .action(async (name: string, index: string | undefined, options: IndexOptions) => {
      const { path, unique, multi } = options;
      if (index !== undefined && path === undefined && options.delete !== true) throw new UsageError("give --path");
      await withStore(options, async (store) => {
        const map = store.map(name);
        if (index !== undefined && options.delete === true) await map.dropIndex(index);
        else if (index !== undefined && path !== undefined) await map.defineIndex(index, { path, unique, multi });
        for (const one of await map.indexes()) {
          if (index !== undefined && one.name !== index) continue;
          if (options.json === true) await printJson(one);
          else await printLine(await indexLine(store, name, one));
        }
      });
    });
}

async function indexLine(
  store: Store,
  name: string,
  one: { readonly name: string; readonly path: string; readonly unique: boolean; readonly multi: boolean },
): Promise<string> {
  const kind = `${one.unique ? ", unique" : ""}${one.multi ? ", of arrays" : ""}`;
  const count = await store.map(name).index(one.name).count();
  return `${lineForTerminal(one.name)}\tof ${lineForTerminal(one.path)}${kind}, ${plural(count, "row")}`;
}
