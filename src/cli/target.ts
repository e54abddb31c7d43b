/**
 * What a command works on: a server (`--endpoint`, else `$HOLDFAST_ENDPOINT`, else 127.0.0.1:7420), or with `--data` a
 * directory that no server has open.
 */
import { resolve } from "node:path";
import { InvalidArgumentError, Option } from "commander";
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { ConsoleLogger, natsKind, nodeEnv, parseAddress, WorkerPipeline } from "../host/index.ts";
import type { Address } from "../host/index.ts";
import type { Store } from "../member/index.ts";
import { UsageError } from "./output.ts";

export interface TargetOptions {
  readonly endpoint: string;
  readonly data?: string;
  readonly json?: boolean;
  /** Milliseconds that one call may take. */
  readonly timeout: number;
}

/** Adds the options that every subcommand has. */
export function addTargetOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--endpoint <address>", "the member to talk to").env("HOLDFAST_ENDPOINT").default("127.0.0.1:7420"),
    )
    .option("--data <dir>", "work on this directory, without a server")
    .option("--json", "print JSON")
    .option("--timeout <ms>", "how long one call may take", parseCount, 10_000)
    .hook("preAction", (self) => {
      const named = (option: string) => self.getOptionValueSource(option) === "cli";
      if (named("data") && named("endpoint")) {
        throw new UsageError("give --data for a directory without a server, or --endpoint for a server, not both");
      }
    });
}

/** Runs `work` on the store that the options name and closes it afterwards, whatever happens. */
export function withStore<T>(options: TargetOptions, work: (store: Store) => Promise<T>): Promise<T> {
  return withTarget(options, true, work);
}

/** The same for what one member says of itself: only the addresses that were given are asked. */
export function withMember<T>(options: TargetOptions, work: (store: Store) => Promise<T>): Promise<T> {
  return withTarget(options, false, work);
}

async function withTarget<T>(
  options: TargetOptions,
  followMembers: boolean,
  work: (store: Store) => Promise<T>,
): Promise<T> {
  const store = await openTarget(options, followMembers);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/** Loads the layers of a member only here, so that help and wrong usage do not wait for them. */
async function openTarget(options: TargetOptions, followMembers: boolean): Promise<Store> {
  const { connectStore, openStore } = await import("../member/index.ts");
  if (options.data !== undefined) {
    // A command reads and writes; only `start` makes a new directory.
    const directory = resolve(options.data);
    const env = directoryEnv(directory);
    const how = { mustExist: true, pipeline: new WorkerPipeline(), logs: [natsKind(env)] };
    return openStore(env, how).catch((error: unknown) => {
      throw explainOpening(error, directory);
    });
  }
  for (const address of options.endpoint.split(",")) checkAddress(address.trim(), "--endpoint");
  const how = { timeoutMs: options.timeout, followMembers, pipeline: new WorkerPipeline() };
  return connectStore(directoryEnv("."), options.endpoint, how);
}

/** The doors of a command: it speaks for itself, so that only warnings are logged. */
export function directoryEnv(directory: string): Env {
  return nodeEnv({ directory: resolve(directory), logger: new ConsoleLogger({ level: "warn" }) });
}

/** Says which directory does not open, and what a person can do about it. */
export function explainOpening(error: unknown, directory: string): unknown {
  if (!(error instanceof HoldfastError)) return error;
  if (error.code === "corrupt") {
    const message = `${directory} does not open: ${error.message}; \`holdfast doctor --data ${directory}\` shows all of it`;
    return new HoldfastError("corrupt", message, { cause: error });
  }
  if (error.code === "notFound") {
    const message = `there is no store in ${directory}; \`holdfast start --data ${directory}\` makes one`;
    return new HoldfastError("notFound", message, { cause: error });
  }
  return error;
}

/** Wrong usage rather than a failure: nothing was tried. */
export function checkAddress(address: string, option: string): Address {
  try {
    return parseAddress(address);
  } catch (error) {
    throw new UsageError(`${option}: ${(error as Error).message}`);
  }
}

/** A signal that aborts on SIGINT, for commands that run until they are stopped. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => controller.abort());
  return controller.signal;
}

/** Commander's parser for whole numbers that are not negative. */
export function parseWhole(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) {
    throw new InvalidArgumentError("It must be a whole number, 0 or more.");
  }
  return value;
}

/** Commander's parser for whole numbers from 1 up. */
export function parseCount(text: string): number {
  if (parseWhole(text) < 1) throw new InvalidArgumentError("It must be a whole number, 1 or more.");
  return Number(text);
}

/** Commander's parser for lease ids. */
export function parseLease(text: string): bigint {
  if (/^\d{1,19}$/.test(text) && BigInt(text) > 0n && BigInt(text) < 2n ** 63n) return BigInt(text);
  throw new InvalidArgumentError("It must be a whole number from 1 to 2^63 - 1.");
}
