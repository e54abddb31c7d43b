/**
 * The log of a store on its own, which may move while it is written: from its files to another engine, and to files again.
 * Every stay in files has a directory of its own: `log`, `log-2`, … The file `chain` says where the log is once it has moved.
 */
import { HoldfastError, sleep, utf8Decode, utf8Encode } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { Chain, ChainFile, FileEngine } from "../log/index.ts";
import type { ChainOptions, EngineKind, JournalReport, LogEngine, Successor } from "../log/index.ts";
import type { OpenOptions } from "./open-options.ts";

/** Where a store on its own has its log before it has ever moved. */
export const logDirectory = "log";
const chainPath = "chain";
const fileKind = "file";
const retryMs = 500;

function chainFile(env: Pick<Env, "disk" | "digest">): ChainFile {
  return new ChainFile(env, chainPath);
}

/** Opens the log where it is, or makes one in files. */
export function openStoreLog(env: Env, options: OpenOptions): Promise<Chain> {
  return Chain.open({ kind: fileKind, parameters: utf8Encode(logDirectory) }, chainOptions(env, options));
}

function chainOptions(env: Env, options: OpenOptions): ChainOptions {
  const { segmentSizeMin, segmentSizeMax, logs = [] } = options;
  const sizes = {
    ...(segmentSizeMin !== undefined && { segmentSizeMin }),
    ...(segmentSizeMax !== undefined && { segmentSizeMax }),
  };
  return {
    openEngine: async ({ kind, parameters }, { fresh }) => {
      if (kind !== fileKind) return kindOf(logs, kind).open(parameters, { fresh, alone: true });
      const directory = utf8Decode(parameters);
      if (fresh) await emptyDirectory(env, directory);
      return FileEngine.open(env, directory, sizes);
    },
    removeEngine: ({ kind, parameters }) =>
      kind === fileKind ? emptyDirectory(env, utf8Decode(parameters)) : kindOf(logs, kind).remove(parameters),
    places: chainFile(env),
    pause: () => sleep(env.clock, retryMs),
    onTrouble: (what, error) => env.logger.log("warn", what, { error: String(error) }),
    monotonicMs: () => env.clock.monotonicMs(),
  };
}

/** The kind of this name. `unavailable` when the program does not bring it along; `own` is what the store has by itself. */
export function kindOf(logs: readonly EngineKind[], wanted: string, own = fileKind): EngineKind {
  const found = logs.find(({ kind }) => kind === wanted);
  if (found !== undefined) return found;
  const known = [own, ...logs.map(({ kind }) => kind)].join(", ");
  throw new HoldfastError(
    "unavailable",
    `an engine of kind "${wanted}" is not known to this program; it knows: ${known}`,
  );
}

/** Where a log that moves to an address goes. `invalid` for what is no address of a place for this store. */
export async function successorOf(env: Env, options: OpenOptions, log: Chain, address: string): Promise<Successor> {
  const kind = address.split(":", 1)[0] ?? "";
  if (kind === "raft") {
    throw new HoldfastError(
      "invalid",
      "a store on its own becomes a cluster when it is started with --peers; its log cannot be moved to raft: while it runs",
    );
  }
  if (kind !== fileKind) return successorElsewhere(options.logs ?? [], address, "file:");
  if (address !== "file:") {
    throw new HoldfastError("invalid", `${address}: a log in files is in the data directory; write file:`);
  }
  const used = new Set(
    log.places.filter(({ engine }) => engine.kind === kind).map((place) => utf8Decode(place.engine.parameters)),
  );
  for (let number = 2; ; number++) {
    const directory = `${logDirectory}-${number}`;
    if (!used.has(directory)) return { kind, parameters: utf8Encode(directory) };
  }
}

/** The place that an address names which one of the kinds knows. `invalid` for any other; `own` is what there is beside. */
export function successorElsewhere(logs: readonly EngineKind[], address: string, own: string): Successor {
  const kind = address.split(":", 1)[0] ?? "";
  const known = logs.find((one) => one.kind === kind);
  if (known !== undefined) return { kind, parameters: known.parametersOf(address) };
  throw new HoldfastError("invalid", `${address} is no place for a log; write ${own} or nats://host:port/STREAM`);
}

/** Directories of the log's files that a store on its own has, oldest first. */
export async function logDirectories(env: Pick<Env, "disk" | "digest">): Promise<string[]> {
  const places = await chainFile(env).load();
  if (places === undefined) return [logDirectory];
  return places.filter(({ engine }) => engine.kind === fileKind).map(({ engine }) => utf8Decode(engine.parameters));
}

/** Removes the files of the log, since all of it is in a checkpoint. A stream elsewhere is left to whoever made it. */
export async function removeStoreLog(env: Pick<Env, "disk" | "digest">): Promise<void> {
  for (const directory of await logDirectories(env)) await emptyDirectory(env, directory);
  if ((await chainFile(env).load()) === undefined) return;
  await env.disk.remove(chainPath);
  await env.disk.syncDirectory("");
}

/** What the engines with files say of them. */
export class ChainLogFiles {
  readonly #chain: Chain;

  constructor(chain: Chain) {
    this.#chain = chain;
  }

  get #engines(): FileEngine[] {
    return this.#chain.engines.filter((engine: LogEngine) => engine instanceof FileEngine);
  }

  get size(): number {
    return this.#engines.reduce((sum, { size }) => sum + size, 0);
  }

  get writtenSize(): number {
    return this.#engines.reduce((sum, { writtenSize }) => sum + writtenSize, 0);
  }

  async *verify(options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<JournalReport, void, undefined> {
    for (const engine of this.#engines) yield* engine.verify(options);
  }
}

/** Removes the files of a directory; nothing where there is none. */
async function emptyDirectory(env: Pick<Env, "disk">, directory: string): Promise<void> {
  let names: string[];
  try {
    names = await env.disk.list(directory);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === "notFound") return;
    throw error;
  }
  for (const name of names) await env.disk.remove(`${directory}/${name}`);
  if (names.length > 0) await env.disk.syncDirectory(directory);
}
