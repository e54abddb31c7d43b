/**
 * Checkpoints on disk: what the log means up to a position, as the root of a tree whose pages are durable blobs. The
 * newest two are kept, so that a damaged file costs a longer replay and nothing else; and those of snapshots whose root
 * the log does not know yet (pins.ts).
 *
 * After a crash: a checkpoint file is complete under its name, or not there.
 *
 * Format: docs/format.md, "Commands and checkpoints".
 */
import {
  bytes,
  concatBytes,
  equalBytes,
  HoldfastError,
  message,
  readUint32LE,
  repeated,
  uint64,
  utf8Encode,
  writeUint32LE,
} from "../base/index.ts";
import type { Env, Infer } from "../base/index.ts";
import type { TreeRoot } from "../tree/index.ts";

export const CheckpointRecord = message("holdfast.view.Checkpoint", {
  /** One past the last record of the log that the root holds. */
  position: uint64(1),
  revision: uint64(2),
  /** Store time, milliseconds since the Unix epoch. */
  timeMs: uint64(3),
  /** 32 bytes; none for the empty state. */
  rootHash: bytes(4),
  /** 16 bytes, the same for the whole life of a store. */
  seed: bytes(5),
  /** Entries of the tree. */
  count: uint64(6),
});
export type CheckpointRecord = Infer<typeof CheckpointRecord>;

/** What a file has behind the fields of the record: it is this member's alone. */
const Notes = message("holdfast.view.CheckpointNotes", { lackingPins: repeated(uint64(7)) });

/** A checkpoint as a member keeps it. */
export interface KeptCheckpoint extends CheckpointRecord {
  /** Revisions of snapshots whose pages are not all here; absent when there are none. */
  readonly lackingPins?: readonly number[];
}

export interface SaveOptions {
  /** Positions of checkpoints to be kept beside the newest two. Default: none. */
  readonly keep?: ReadonlySet<number> | undefined;
  /** Of the new one. Default: none. */
  readonly lackingPins?: readonly number[] | undefined;
}

export function rootOf(record: CheckpointRecord): TreeRoot {
  return { hash: record.rootHash.length === 0 ? null : record.rootHash, seed: record.seed, count: record.count };
}

/** Where checkpoints are kept. */
export interface CheckpointStore {
  /** Those that can be read, newest first. `corrupt` when there are some and none can be read. */
  load(): Promise<readonly KeptCheckpoint[]>;
  /** Durable when it resolves; all but the newest two, and those to be kept beside them, are forgotten. */
  save(record: CheckpointRecord, options?: SaveOptions): Promise<void>;
}

const magic = utf8Encode("HFCHECK1");
const namePattern = /^checkpoint-(\d{16})$/;

function nameOf({ position }: Pick<CheckpointRecord, "position">): string {
  return `checkpoint-${String(position).padStart(16, "0")}`;
}

function positionOf(name: string): number {
  return Number(namePattern.exec(name)?.[1]);
}

function withNotes(record: CheckpointRecord, lackingPins: readonly number[]): KeptCheckpoint {
  return lackingPins.length === 0 ? record : { ...record, lackingPins };
}

export class DiskCheckpoints implements CheckpointStore {
  readonly #env: Pick<Env, "disk" | "digest" | "logger">;
  readonly #directory: string;
  /** Whether the directory is there for good: made, and durable under its name. */
  #made = false;
  /** Names of files that could not be read. */
  readonly #damaged = new Set<string>();

  /** In a directory of its own; the caller holds the disk's lock. */
  constructor(env: Pick<Env, "disk" | "digest" | "logger">, directory: string) {
    this.#env = env;
    this.#directory = directory;
  }

  async load(): Promise<readonly KeptCheckpoint[]> {
    const records: KeptCheckpoint[] = [];
    let damage: HoldfastError | undefined;
    for (const name of (await this.#names()).toReversed()) {
      try {
        records.push(await this.#read(name));
      } catch (error) {
        if (!(error instanceof HoldfastError) || error.code !== "corrupt") throw error;
        damage ??= error;
        this.#damaged.add(name);
        this.#env.logger.log("error", error.message);
      }
    }
    if (records.length === 0 && damage !== undefined) throw damage;
    return records;
  }

  /** In the order of their positions. */
  async #names(): Promise<string[]> {
    try {
      return (await this.#env.disk.list(this.#directory)).filter((name) => namePattern.test(name));
    } catch (error) {
      if (error instanceof HoldfastError && error.code === "notFound") return [];
      throw error;
    }
  }

  async #read(name: string): Promise<KeptCheckpoint> {
    const { disk, digest } = this.#env;
    const path = `${this.#directory}/${name}`;
    const file = await disk.open(path, "read");
    try {
      const whole = await file.read(0, await file.size());
      const body = whole.subarray(12);
      const sound =
        whole.length >= 12 &&
        equalBytes(whole.subarray(0, 8), magic) &&
        readUint32LE(whole, 8) === digest.crc32(body) &&
        name === nameOf(CheckpointRecord.decode(body));
      if (sound) return withNotes(CheckpointRecord.decode(body), Notes.decode(body).lackingPins);
    } finally {
      await file.close();
    }
    throw new HoldfastError(
      "corrupt",
      `checkpoint file ${path} is damaged (offset 0); an older one is used if there is one, else restore the data directory from a backup`,
    );
  }

  async save(record: CheckpointRecord, options: SaveOptions = {}): Promise<void> {
    const { disk, digest } = this.#env;
    await this.#make();
    const { lackingPins = [] } = options;
    const body = concatBytes([CheckpointRecord.encode(record), Notes.encode({ lackingPins })]);
    const header = new Uint8Array(12);
    header.set(magic, 0);
    writeUint32LE(header, 8, digest.crc32(body));
    const path = `${this.#directory}/${nameOf(record)}`;
    const file = await disk.open(`${path}.new`, "write");
    try {
      await file.truncate(0);
      await file.write([concatBytes([header, body])], 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await disk.rename(`${path}.new`, path);
    await disk.syncDirectory(this.#directory);
    this.#damaged.delete(nameOf(record));
    await this.#forget(options.keep);
  }

  async #forget(keep: ReadonlySet<number> = new Set()): Promise<void> {
    const { disk } = this.#env;
    const names = await this.#names();
    // A damaged file is none of the two that are kept.
    const sound = names.filter((name) => !this.#damaged.has(name));
    const beyond = sound.slice(0, -2).filter((name) => !keep.has(positionOf(name)));
    const old = [...names.filter((name) => this.#damaged.has(name)), ...beyond];
    if (old.length === 0) return;
    for (const name of old) await disk.remove(`${this.#directory}/${name}`);
    this.#damaged.clear();
    // The caller deletes what only these needed: none of them may come back after a crash.
    await disk.syncDirectory(this.#directory);
  }

  async #make(): Promise<void> {
    if (this.#made) return;
    const { disk } = this.#env;
    await disk.makeDirectory(this.#directory);
    await disk.syncDirectory(this.#directory.split("/").slice(0, -1).join("/"));
    this.#made = true;
  }
}

/** For stores in memory. */
export class MemoryCheckpoints implements CheckpointStore {
  #records: KeptCheckpoint[] = [];

  load(): Promise<readonly KeptCheckpoint[]> {
    return Promise.resolve(this.#records);
  }

  save(record: CheckpointRecord, options: SaveOptions = {}): Promise<void> {
    const { keep, lackingPins = [] } = options;
    const others = this.#records.filter(({ position }) => position !== record.position);
    const all = [withNotes(record, lackingPins), ...others].toSorted((a, b) => b.position - a.position);
    this.#records = all.filter(({ position }, index) => index < 2 || keep?.has(position) === true);
    return Promise.resolve();
  }
}
