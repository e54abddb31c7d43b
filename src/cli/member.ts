/** `holdfast member`: who takes part in a cluster, and who shall. */
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { MemberInfo, MemberList, Store } from "../member/index.ts";
import { countText, printJson, printLine, table, UsageError } from "./output.ts";
import { addTargetOptions, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

export function addTo(command: Command): void {
  addList(command);
  addAdd(command);
  addRemove(command);
  addPromote(command);
  addTransfer(command);
  command.addHelpText(
    "after",
    `
Examples:
  $ holdfast member list
  $ holdfast member add d
  $ holdfast member add d --replaces b
  $ holdfast member remove c
  $ holdfast member transfer a`,
  );
}

function addList(parent: Command): void {
  addTargetOptions(parent.command("list").description("the members: role, address, who leads, who is behind"))
    .addHelpText("after", "\nExamples:\n  $ holdfast member list\n  $ holdfast member list --json")
    .action(async (options: TargetOptions) => {
      await withStore(options, async (store) => {
        const list = await store.members.list();
        if (options.json) await printJson(list);
        else await printLine(listForPeople(list));
      });
    });
}

/** The columns of `member list`, and below them who leads. */
export function listForPeople({ members, leader, term, leaderZone, cluster }: MemberList): string {
  const rows = members
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map((member) => [
      member.leader ? "*" : "",
      member.name,
      roleForPeople(member),
      member.address === "" ? (member.self ? "-" : "(has not come yet)") : member.address,
      member.zone === "" ? "-" : member.zone,
      lagForPeople(member),
      String(member.id),
    ]);
  const text = table([["", "name", "role", "address", "zone", "lag", "id"], ...rows]);
  if (cluster === "") return `${text}\n\nThis store has one member and is no cluster.`;
  const leads = members.find(({ id }) => id === leader);
  const zone = leaderZone === "" ? "" : `; zone ${leaderZone} should lead`;
  const who = leads === undefined ? "no leader is known" : `* ${leads.name} leads`;
  return `${text}\n\n${who}, term ${countText(term)}${zone}`;
}

function roleForPeople({ role, replaces }: MemberInfo): string {
  return replaces === "" ? role : `${role} for ${replaces}`;
}

/** Entries behind the leader; a member that the leader does not hear says so. */
function lagForPeople({ lag, active }: MemberInfo): string {
  if (lag < 0) return "-";
  return active ? countText(lag) : `${countText(lag)}, silent`;
}

function addAdd(parent: Command): void {
  addTargetOptions(parent.command("add").description("expect a member; prints the command that starts it"))
    .argument("<name>", "its name")
    .option("--replaces <name>", "a member, dead or alive, whose place it takes when it has caught up")
    .option("--zone <zone>", "the zone that it fails together with")
    .option("--learner", "never make it a voter by itself")
    .addHelpText(
      "after",
      `
Nothing waits for a member that does not come.

Examples:
  $ holdfast member add d
  $ holdfast member add d --replaces b
  $ holdfast member add reader --learner --zone west`,
    )
    .action(async (name: string, options: TargetOptions & AddFlags) => {
      const { replaces, zone, learner } = options;
      await withStore(options, async (store) => {
        const info = await store.members.add(name, {
          ...(replaces !== undefined && { replaces }),
          ...(zone !== undefined && { zone }),
          ...(learner === true && { learner }),
        });
        const command = startCommand(info, await store.members.list(), options);
        if (options.json) await printJson({ ...info, start: command });
        else await printLine(`${describeAdded(info)}\nStart it, with an address of its own machine:\n\n  ${command}`);
      });
    });
}

interface AddFlags {
  readonly replaces?: string;
  readonly zone?: string;
  readonly learner?: boolean;
}

function describeAdded({ name, replaces }: MemberInfo): string {
  return replaces === "" ? `expecting ${name}` : `expecting ${name}, in place of ${replaces}`;
}

/** What is typed on the new member's machine. It asks the members that are there now, and not the one that goes. */
function startCommand({ name, zone, replaces }: MemberInfo, { members }: MemberList, options: TargetOptions): string {
  const known = members.filter((member) => member.address !== "" && member.name !== replaces);
  const addresses = known.length === 0 ? options.endpoint : known.map(({ address }) => address).join(",");
  const zoned = zone === "" ? "" : ` --zone ${zone}`;
  return `npx holdfast start --name ${name} --data ./${name} --listen HOST:PORT${zoned} --join ${addresses}`;
}

function addRemove(parent: Command): void {
  addTargetOptions(parent.command("remove").description("remove a member for good; it cannot come back"))
    .argument("<name>", "the member")
    .addHelpText("after", "\nExamples:\n  $ holdfast member remove c")
    .action(async (name: string, options: TargetOptions) => {
      await change(options, { removed: name }, `removed ${name}`, (store) => store.members.remove(name));
    });
}

function addPromote(parent: Command): void {
  addTargetOptions(parent.command("promote").description("make a learner that has caught up a voter"))
    .argument("<name>", "the learner")
    .addHelpText("after", "\nExamples:\n  $ holdfast member promote d")
    .action(async (name: string, options: TargetOptions) => {
      await change(options, { promoted: name }, `${name} is a voter`, (store) => store.members.promote(name));
    });
}

async function change(
  options: TargetOptions,
  json: unknown,
  text: string,
  work: (store: Store) => Promise<void>,
): Promise<void> {
  await withStore(options, async (store) => {
    await work(store);
    if (options.json) await printJson(json);
    else await printLine(text);
  });
}

function addTransfer(parent: Command): void {
  addTargetOptions(parent.command("transfer").description("hand the leadership to a member, or to a zone"))
    .argument("[name]", "the member that shall lead")
    .option("--zone <zone>", "the zone that shall lead, from now on whenever it can; empty: no preference")
    .addHelpText(
      "after",
      "\nExamples:\n  $ holdfast member transfer a\n  $ holdfast member transfer --zone west\n  $ holdfast member transfer --zone ''",
    )
    .action(async (name: string | undefined, options: TargetOptions & { readonly zone?: string }) => {
      const { zone } = options;
      if ((name === undefined) === (zone === undefined)) {
        throw new UsageError("name the member that shall lead, or give --zone, one of the two");
      }
      await withStore(options, async (store) => {
        await store.members.transfer(name === undefined ? { zone: zone ?? "" } : { name });
        const { members, leader, term } = await store.members.list();
        const leads = members.find(({ id }) => id === leader)?.name;
        if (options.json) await printJson({ leader: leads ?? null, term });
        else if (zone === "") await printLine("no zone is preferred");
        else if (leads === undefined)
          throw new HoldfastError("unavailable", "no leader is known yet; ask `member list`");
        else await printLine(`${leads} leads, term ${countText(term)}`);
      });
    });
}
