/**
 * The program behind the command. Each subcommand is a file of its own that adds itself and is loaded only when it is
 * named, so that `holdfast key get` starts fast.
 *
 * Exit status: 0 done, 1 failed, 2 wrong usage.
 */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { ChildEnded, fail, failUsage } from "./output.ts";

/** Subcommands with what `holdfast --help` says of them, and where they are. */
const subcommands: readonly {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<{ readonly addTo: (command: Command) => void }>;
}[] = [
  { name: "start", summary: "run a member that serves a data directory", load: () => import("./start.ts") },
  { name: "key", summary: "read, write and watch keys; import and export them", load: () => import("./key.ts") },
  { name: "file", summary: "files and folders: put, get, list, sync; buckets", load: () => import("./file.ts") },
  { name: "snapshot", summary: "keep, compare and restore states of everything", load: () => import("./snapshot.ts") },
  { name: "collect", summary: "delete what nothing needs any more", load: () => import("./collect.ts") },
  { name: "lease", summary: "grant, keep alive and revoke leases", load: () => import("./lease.ts") },
  { name: "map", summary: "maps: get, set and list entries; indexes", load: () => import("./map.ts") },
  { name: "set", summary: "sets: add, delete and list members", load: () => import("./set.ts") },
  { name: "register", summary: "one value with a name: get, set, watch", load: () => import("./register.ts") },
  { name: "object", summary: "list objects of your own types", load: () => import("./object.ts") },
  { name: "counter", summary: "add to, read and list counters", load: () => import("./counter.ts") },
  {
    name: "queue",
    summary: "jobs: push, pull, acknowledge; dead ones",
    load: () => import("./queue.ts"),
  },
  {
    name: "stream",
    summary: "streams of the shared log: append, read, follow",
    load: () => import("./stream.ts"),
  },
  { name: "lock", summary: "run a command while a lock is held", load: () => import("./lock.ts") },
  { name: "elect", summary: "run a command while this one leads", load: () => import("./elect.ts") },
  { name: "barrier", summary: "wait until so many have arrived", load: () => import("./barrier.ts") },
  { name: "presence", summary: "be here; list and watch who is", load: () => import("./presence.ts") },
  { name: "limit", summary: "ask a rate limiter", load: () => import("./limit.ts") },
  { name: "cron", summary: "run a command at the ticks of a schedule", load: () => import("./cron.ts") },
  { name: "log", summary: "look at and verify the log", load: () => import("./log.ts") },
  {
    name: "member",
    summary: "the members of a cluster: list, add, remove, transfer",
    load: () => import("./member.ts"),
  },
  { name: "status", summary: "revision, sizes and health of a store", load: () => import("./status.ts") },
  { name: "doctor", summary: "check a data directory and this machine", load: () => import("./doctor.ts") },
  { name: "bench", summary: "measure puts and gets on a store", load: () => import("./bench.ts") },
  { name: "demo", summary: "watch three members survive what kills one", load: () => import("./demo.ts") },
];

function version(): string {
  // `src/cli/` in a clone, `dist/cli/` in the package: package.json is two folders up in both.
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

async function makeProgram(named: string | undefined, json: boolean): Promise<Command> {
  const program = new Command("holdfast")
    .description("Keys, files and coordination on one log: embedded in one process, or served to many.")
    .version(version(), "-V, --version", "print the version")
    .addHelpText(
      "after",
      `
Examples:
  $ holdfast start                             serve ./holdfast-data on 127.0.0.1:7420
  $ holdfast key put greeting hello
  $ holdfast key get greeting
  $ holdfast key watch --prefix user/
  $ holdfast file put ~/photos photos:all
  $ holdfast snapshot create before-upgrade
  $ holdfast status --data ./holdfast-data     without a server

\`holdfast COMMAND --help\` says more about a command.`,
    );
  const completing = named === "completion" || named === "complete";
  for (const { name, summary, load } of subcommands) {
    const command = program.command(name).description(summary);
    if (named === name || completing) (await load()).addTo(command);
  }
  if (completing) (await import("@bomb.sh/tab/commander")).default(program, { completionCommandName: "completion" });
  else program.command("completion <shell>").description("print the completion of zsh, bash, fish or powershell");
  const settle = (command: Command, path: string) => {
    command
      .exitOverride()
      .helpOption("-h, --help", "print this help")
      .helpCommand(false)
      .configureOutput({
        outputError: (text) => failUsage(text.trim().replace(/^error: /, ""), { json }, `${path} --help`),
      });
    for (const child of command.commands) settle(child, `${path} ${child.name()}`);
  };
  settle(program, "holdfast");
  return program;
}

/** Runs the command that `argv` names (as `process.argv` has it) and gives the exit status. */
export async function main(argv: readonly string[]): Promise<number> {
  // A reader that closes the pipe early (`holdfast key list | head`) is no failure.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  const named = argv.slice(2).find((argument) => !argument.startsWith("-"));
  const json = argv.includes("--json");
  const program = await makeProgram(named, json);
  if (argv.length <= 2) {
    program.outputHelp();
    return 0;
  }
  try {
    await program.parseAsync(argv);
    return 0;
  } catch (error) {
    // Commander has printed what is wrong; help and version end here too, with exit code 0.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (error instanceof ChildEnded) return error.status;
    return fail(error, { json });
  }
}
