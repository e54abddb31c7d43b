/** `holdfast queue`: push jobs, pull and end them, look at them. */
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { JobInfo, QueueInfo } from "../member/index.ts";
import { countText, plural, printJson, printLine, table, UsageError } from "./output.ts";
import { addTargetOptions, interruptSignal, parseWhole, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

export function addTo(command: Command): void {
  addPush(command);
  addPull(command);
  addAck(command);
  addReject(command);
  addList(command);
  addInfo(command);
  addDead(command);
  addPurge(command);
  command.addHelpText(
    "after",
    `
A job is text or JSON. Who pulls one has it for --ttl; then, unless it was acknowledged, somebody else gets it.

Examples:
  $ holdfast queue push mail '{"to": "ada"}'
  $ holdfast queue pull mail --ttl 60000
  $ holdfast queue ack mail 1 --attempt 1 --lease 1234
  $ holdfast queue info mail`,
  );
}

function addPush(parent: Command): void {
  addTargetOptions(parent.command("push").description("push a job; prints its id"))
    .argument("<queue>", "the queue")
    .argument("<job>", "its content: JSON, or else text")
    .option("--priority <number>", "larger ones are pulled first", parseInteger, 0)
    .option("--delay <ms>", "it cannot be pulled before", parseWhole, 0)
    .option("--dedup <key>", "not if a job with this key is there")
    .option("--dedup-for <ms>", "nor for so long from its push", parseWhole, 0)
    .addHelpText("after", "\nExamples:\n  $ holdfast queue push mail hello --priority 5 --delay 60000")
    .action(async (name: string, job: string, options: TargetOptions & PushFlags) => {
      const { priority, delay: delayMs, dedup: dedupKey, dedupFor: dedupMs } = options;
      await withStore(options, async (store) => {
        const { id, duplicate } = await store
          .queue(name)
          .push(contentOf(job), { priority, delayMs, dedupKey, dedupMs });
        if (options.json) await printJson({ id, duplicate });
        else await printLine(duplicate ? `${id}  (it is there already)` : String(id));
      });
    });
}

interface PushFlags {
  readonly priority: number;
  readonly delay: number;
  readonly dedup?: string;
  readonly dedupFor: number;
}

function addPull(parent: Command): void {
  addTargetOptions(parent.command("pull").description("lease jobs, and print what ends them"))
    .argument("<queue>", "the queue")
    .option("--count <number>", "at most so many", parseWhole, 1)
    .option("--ttl <ms>", "how long they are leased", parseWhole, 30_000)
    .option("--wait", "until there is one")
    .option("--ack", "acknowledge them at once: they are gone when they are printed")
    .addHelpText(
      "after",
      `
Prints the id, the attempt, the lease and the content of each. Exit status 1 if there is none.

Examples:
  $ holdfast queue pull mail --wait
  $ holdfast queue pull mail --count 10 --ack`,
    )
    .action(async (name: string, options: TargetOptions & PullFlags) => {
      const { count, ttl: ttlMs, wait = false, ack = false } = options;
      await withStore(options, async (store) => {
        const jobs = await store.queue(name).pull({ count, ttlMs, wait, signal: interruptSignal() });
        if (jobs.length === 0) throw new HoldfastError("notFound", `no job of the queue ${name} is ready`);
        for (const job of jobs) {
          const { id, attempt, lease, value } = job;
          if (options.json) await printJson({ id, attempt, lease: String(lease), value });
          else await printLine([id, attempt, lease, textOfContent(value)].join("\t"));
          if (ack) await job.ack();
        }
      });
    });
}

interface PullFlags {
  readonly count: number;
  readonly ttl: number;
  readonly wait?: boolean;
  readonly ack?: boolean;
}

interface DeliveryFlags {
  readonly attempt: number;
  readonly lease: bigint;
}

function addDelivery(command: Command): Command {
  return addTargetOptions(command)
    .argument("<queue>", "the queue")
    .argument("<id>", "the job", parseWhole)
    .requiredOption("--attempt <number>", "as pull has printed it", parseWhole)
    .requiredOption("--lease <id>", "as pull has printed it", (text: string) => BigInt(text));
}

function addAck(parent: Command): void {
  addDelivery(parent.command("ack").description("a job is done, and gone"))
    .addHelpText("after", "\nExamples:\n  $ holdfast queue ack mail 1 --attempt 1 --lease 1234")
    .action(async (queue: string, id: number, options: TargetOptions & DeliveryFlags) => {
      const { attempt, lease } = options;
      await withStore(options, async (store) => {
        await store.queue(queue).ack({ id, attempt, lease });
        if (options.json) await printJson({ id });
        else await printLine(`job ${id} is done`);
      });
    });
}

function addReject(parent: Command): void {
  addDelivery(parent.command("reject").description("a job was not done: it comes back later, or is dead"))
    .option("--delay <ms>", "when it is ready again; default: as the queue's settings say", parseWhole)
    .option("--dead", "among the dead ones at once")
    .option("--error <text>", "kept with the job", "")
    .addHelpText(
      "after",
      "\nExamples:\n  $ holdfast queue reject mail 1 --attempt 1 --lease 1234 --error 'no such user'",
    )
    .action(async (queue: string, id: number, options: TargetOptions & DeliveryFlags & RejectFlags) => {
      const { attempt, lease, delay: delayMs, dead, error } = options;
      await withStore(options, async (store) => {
        await store.queue(queue).reject({ id, attempt, lease }, { delayMs, dead, error });
        if (options.json) await printJson({ id });
        else await printLine(`job ${id} was given back`);
      });
    });
}

interface RejectFlags {
  readonly delay?: number;
  readonly dead?: boolean;
  readonly error: string;
}

function addList(parent: Command): void {
  addTargetOptions(parent.command("list").description("the queues, or the jobs of one"))
    .argument("[queue]", "the queue")
    .option("--dead", "only dead jobs")
    .addHelpText("after", "\nExamples:\n  $ holdfast queue list\n  $ holdfast queue list mail --dead")
    .action(async (name: string | undefined, options: TargetOptions & { readonly dead?: boolean }) => {
      await withStore(options, async (store) => {
        if (name === undefined) {
          for await (const queue of store.queues()) {
            if (options.json) await printJson(queue);
            else await printLine(`${queue.name}\t${countsText(queue)}`);
          }
          return;
        }
        for await (const job of store.queue(name).list({ dead: options.dead })) {
          if (options.json) await printJson(job);
          else await printLine(jobLine(job));
        }
      });
    });
}

function addInfo(parent: Command): void {
  addTargetOptions(parent.command("info").description("how many jobs are ready, delayed, leased and dead"))
    .argument("<queue>", "the queue")
    .addHelpText("after", "\nExamples:\n  $ holdfast queue info mail")
    .action(async (name: string, options: TargetOptions) => {
      await withStore(options, async (store) => {
        const info = await store.queue(name).info();
        if (options.json) {
          await printJson(info);
          return;
        }
        const { ready, delayed, leased, dead, settings } = info;
        const rows = Object.entries({ ready, delayed, leased, dead, ...settings });
        await printLine(table(rows.map(([what, count]) => [what, countText(count ?? 0)])).trimEnd());
      });
    });
}

function addDead(parent: Command): void {
  addTargetOptions(parent.command("requeue").description("dead jobs become ready again; prints how many"))
    .argument("<queue>", "the queue")
    .argument("[id]", "the job; default: all", parseWhole)
    .addHelpText("after", "\nExamples:\n  $ holdfast queue requeue mail")
    .action(async (name: string, id: number | undefined, options: TargetOptions) => {
      await withStore(options, async (store) => {
        const count = await store.queue(name).requeue({ id });
        if (options.json) await printJson({ count });
        else await printLine(`${plural(count, "job")} will be pulled again`);
      });
    });
}

function addPurge(parent: Command): void {
  addTargetOptions(parent.command("purge").description("delete all jobs that nobody has leased; prints how many"))
    .argument("<queue>", "the queue")
    .option("--dead", "only dead jobs")
    .addHelpText("after", "\nExamples:\n  $ holdfast queue purge mail --dead")
    .action(async (name: string, options: TargetOptions & { readonly dead?: boolean }) => {
      await withStore(options, async (store) => {
        const count = await store.queue(name).purge(options.dead === true ? { states: ["dead"] } : {});
        if (options.json) await printJson({ count });
        else await printLine(`deleted ${plural(count, "job")}`);
      });
    });
}

/** JSON where it is JSON, else the text itself. */
export function contentOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

export function textOfContent(value: unknown): string {
  if (value instanceof Uint8Array) return `(${plural(value.length, "byte")})`;
  return typeof value === "string" ? JSON.stringify(value).slice(1, -1) : JSON.stringify(value);
}

function countsText({ ready, delayed, leased, dead }: QueueInfo): string {
  return `${countText(ready)} ready, ${countText(delayed)} delayed, ${countText(leased)} leased, ${countText(dead)} dead`;
}

function jobLine({ id, state, priority, attempt, value, error }: JobInfo<unknown>): string {
  const why = error === "" ? "" : `\t${JSON.stringify(error)}`;
  return `${id}\t${state}\t${priority}\t${plural(attempt, "attempt")}\t${textOfContent(value)}${why}`;
}

function parseInteger(text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number)) return number;
  throw new UsageError(`"${text}" is no whole number`);
}
