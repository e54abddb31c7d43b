/** `holdfast lease`: grant, keep alive, revoke, get and list leases. */
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { LeaseInfo } from "../member/index.ts";
import { bytesForPeople, durationText, lineForPeople, plural, printJson, printLine } from "./output.ts";
import { addTargetOptions, interruptSignal, parseLease, parseWhole, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

export function addTo(command: Command): void {
  addGrant(command);
  addKeepAlive(command);
  addRevoke(command);
  addGet(command);
  addList(command);
  command.addHelpText(
    "after",
    `
Examples:
  $ holdfast lease grant --ttl 10000
  $ holdfast key put service/a 10.0.0.1:80 --lease 1234
  $ holdfast lease keep-alive 1234`,
  );
}

function addGrant(parent: Command): void {
  addTargetOptions(parent.command("grant").description("grant a lease; prints its id"))
    .requiredOption("--ttl <ms>", "how long it lives without being kept alive", parseWhole)
    .option("--id <id>", "its id; default: at random", parseLease)
    .addHelpText("after", "\nExamples:\n  $ holdfast lease grant --ttl 10000")
    .action(async (options: TargetOptions & { readonly ttl: number; readonly id?: bigint }) => {
      await withStore(options, async (store) => {
        const { id, ttlMs } = await store.leases.grant({ ttlMs: options.ttl, id: options.id });
        if (options.json) await printJson({ lease: String(id), ttlMs });
        else await printLine(String(id));
      });
    });
}

function addKeepAlive(parent: Command): void {
  addTargetOptions(parent.command("keep-alive").description("keep a lease alive until Ctrl-C"))
    .argument("<id>", "the lease", parseLease)
    .option("--once", "give it its full time once, and return")
    .addHelpText("after", "\nExamples:\n  $ holdfast lease keep-alive 1234\n  $ holdfast lease keep-alive 1234 --once")
    .action(async (id: bigint, options: TargetOptions & { readonly once?: boolean }) => {
      const signal = interruptSignal();
      await withStore(options, async (store) => {
        for (;;) {
          const ttlMs = await store.leases.keepAlive(id);
          if (options.json) await printJson({ lease: String(id), ttlMs });
          else await printLine(`lease ${id} lives for another ${durationText(ttlMs)}`);
          if (options.once === true) return;
          await new Promise<void>((resolve) => {
            const timer = setTimeout(resolve, ttlMs / 3);
            signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
          });
          if (signal.aborted) return;
        }
      });
    });
}

function addRevoke(parent: Command): void {
  addTargetOptions(parent.command("revoke").description("end a lease now, with its keys; prints how many keys"))
    .argument("<id>", "the lease", parseLease)
    .addHelpText("after", "\nExamples:\n  $ holdfast lease revoke 1234")
    .action(async (id: bigint, options: TargetOptions) => {
      await withStore(options, async (store) => {
        const keyCount = await store.leases.revoke(id);
        if (options.json) await printJson({ lease: String(id), keyCount });
        else await printLine(`ended, with ${plural(keyCount, "key")}`);
      });
    });
}

function addGet(parent: Command): void {
  addTargetOptions(parent.command("get").description("how long a lease has left, and which keys go with it"))
    .argument("<id>", "the lease", parseLease)
    .addHelpText("after", "\nExamples:\n  $ holdfast lease get 1234")
    .action(async (id: bigint, options: TargetOptions) => {
      await withStore(options, async (store) => {
        const info = await store.leases.get(id, { keys: true });
        if (info === undefined) throw new HoldfastError("notFound", `lease ${id} does not exist or has ended`);
        if (options.json) {
          await printJson(infoJson(info));
          return;
        }
        await printLine(infoLine(info));
        for (const key of info.keys) await printLine(`  ${lineForPeople(key)}`);
      });
    });
}

function addList(parent: Command): void {
  addTargetOptions(parent.command("list").description("all leases"))
    .addHelpText("after", "\nExamples:\n  $ holdfast lease list")
    .action(async (options: TargetOptions) => {
      await withStore(options, async (store) => {
        for await (const info of store.leases.list()) {
          if (options.json) await printJson(infoJson(info));
          else await printLine(infoLine(info));
        }
      });
    });
}

function infoLine({ id, ttlMs, remainingMs }: LeaseInfo): string {
  return `${id}\t${durationText(remainingMs)} left of ${durationText(ttlMs)}`;
}

function infoJson({ id, ttlMs, remainingMs, keys }: LeaseInfo): unknown {
  return { lease: String(id), ttlMs, remainingMs, keys: keys.map(bytesForPeople) };
}
