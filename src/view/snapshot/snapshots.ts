/**
 * The snapshots of a store, as a user sees them: the whole state at one revision, kept under a name until it is deleted.
 */
import { HoldfastError, revision as toRevision } from "../../base/index.ts";
import type { Revision } from "../../base/index.ts";
import { accepted, operation } from "../command.ts";
import type { StoredFile } from "../file/file-operation.ts";
import type { ReadOptions } from "../key/key-source.ts";
import { checkedRevision, keyBytes, KeyRecord, kindOf } from "../key/record.ts";
import type { Key } from "../key/record.ts";
import type { SnapshotOperation, SnapshotResult } from "./snapshot-operation.ts";
import type { Difference, DiffQuery, SnapshotSource } from "./snapshot-source.ts";
import type { SnapshotView } from "./snapshot-view.ts";

export interface Snapshot {
  readonly name: string;
  /** What it pins: reads at this revision see it, whatever is compacted. */
  readonly revision: Revision;
  /** When it was made, in store time: milliseconds since the Unix epoch. */
  readonly timeMs: number;
}

export interface DeleteSnapshotOptions {
  /** Only if it pins this revision, else `conflict`. */
  readonly revision?: number | undefined;
  /** That there is none is no error. */
  readonly ifExists?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A snapshot, its name, or the revision that it pins. */
export type SnapshotChoice = string | number | Pick<Snapshot, "revision">;

/** With neither `keys` nor `files`: everything. */
export interface DiffOptions extends ReadOptions {
  /** Keys with this prefix; `""` for all. */
  readonly keys?: Key | undefined;
  /** Files of this bucket, or of all, whose paths have this prefix. */
  readonly files?: { readonly bucket?: string | undefined; readonly prefix?: Key | undefined } | undefined;
}

/** What is not the same in two states. Undefined: not there. */
export type SnapshotDifference =
  | {
      readonly type: "key";
      readonly keyBytes: Uint8Array;
      readonly before: KeyRecord | undefined;
      readonly after: KeyRecord | undefined;
    }
  | {
      readonly type: "file";
      readonly bucket: string;
      readonly pathBytes: Uint8Array;
      readonly before: StoredFile | undefined;
      readonly after: StoredFile | undefined;
    };

export class Snapshots {
  readonly #source: SnapshotSource;
  readonly #view: SnapshotView;

  constructor(source: SnapshotSource, view: SnapshotView) {
    this.#source = source;
    this.#view = view;
  }

  /**
   * Keeps the state as it is now: keys, files, everything, at one revision. `exists` if there is one of this name. The name
   * has 1 to `limits.nameSizeMax` bytes and no control characters.
   */
  async create(name: string, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<Snapshot> {
    const result = await this.#propose({ operation: { case: "create", value: { name: checkedName(name) } } }, options);
    if (result.result?.case !== "create") throw unknownResult();
    const { revision, timeMs } = result.result.value;
    return { name, revision: toRevision(revision), timeMs };
  }

  /** In the order of their revisions. */
  async list(options: ReadOptions = {}): Promise<readonly Snapshot[]> {
    const all = await this.#source.snapshots(options);
    return all.map(({ name, revision, timeMs }) => ({ name, revision: toRevision(revision), timeMs }));
  }

  /** Undefined when there is none of this name. */
  async get(name: string, options: ReadOptions = {}): Promise<Snapshot | undefined> {
    checkedName(name);
    return (await this.list(options)).find((snapshot) => snapshot.name === name);
  }

  /** Lets go of a state; what only it needed is collected. `notFound` if there is none, unless `ifExists`. */
  async delete(name: string, options: DeleteSnapshotOptions = {}): Promise<void> {
    const { revision = 0, ifExists = false } = options;
    const one = { name: checkedName(name), revision: checkedRevision("the revision", revision), lenient: ifExists };
    await this.#propose({ operation: { case: "delete", value: { snapshots: [one] } } }, options);
  }

  /** Deletes these, at one revision. Those that are gone are no error; one that has been made anew since is `conflict`. */
  async deleteAll(
    snapshots: readonly Pick<Snapshot, "name" | "revision">[],
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    if (snapshots.length === 0) return;
    const all = snapshots.map(({ name, revision }) => ({ name: checkedName(name), revision, lenient: true }));
    await this.#propose({ operation: { case: "delete", value: { snapshots: all } } }, options);
  }

  /**
   * What is not the same in two states: keys in the order of their bytes, then files by bucket and path. Reads about as
   * much as differs. `after` undefined: the present state. `notFound` when there is no such snapshot.
   */
  async *diff(
    before: SnapshotChoice,
    after?: SnapshotChoice,
    options: DiffOptions = {},
  ): AsyncGenerator<SnapshotDifference, void, undefined> {
    const { keys, files, ...reading } = options;
    const query: DiffQuery = {
      before: await this.#revisionOf(before, reading),
      after: after === undefined ? undefined : await this.#revisionOf(after, reading),
      keys: keys === undefined ? undefined : { prefix: keyBytes(keys) },
      files: files === undefined ? undefined : { bucket: files.bucket, prefix: keyBytes(files.prefix ?? "") },
    };
    for await (const batch of this.#source.diff(query, reading)) yield* batch.map(toPublic);
  }

  async #revisionOf(choice: SnapshotChoice, options: ReadOptions): Promise<number> {
    if (typeof choice === "number") return checkedRevision("the revision", choice);
    if (typeof choice !== "string") return checkedRevision("the revision of the snapshot", choice.revision);
    const found = await this.get(choice, options);
    if (found !== undefined) return found.revision;
    throw new HoldfastError("notFound", `snapshot ${JSON.stringify(choice)} does not exist; list those that do`);
  }

  async #propose(
    body: SnapshotOperation,
    { signal }: { readonly signal?: AbortSignal | undefined },
  ): Promise<SnapshotResult> {
    const outcome = accepted(await this.#source.propose([operation(this.#view, body)], { signal }));
    return outcome.results[0] as SnapshotResult;
  }
}

function checkedName(name: string): string {
  const given: unknown = name;
  if (typeof given !== "string") throw new HoldfastError("invalid", `a snapshot's name is text, not ${kindOf(given)}`);
  if (given.isWellFormed()) return given;
  throw new HoldfastError("invalid", "the snapshot's name has a lone surrogate, which UTF-8 cannot hold");
}

function unknownResult(): HoldfastError {
  return new HoldfastError("corrupt", "the result is none that this version knows");
}

function toPublic(difference: Difference): SnapshotDifference {
  if (difference.type === "file") {
    const { bucket, path, before, after } = difference;
    return { type: "file", bucket, pathBytes: path, before, after };
  }
  const { key, before, after } = difference;
  const record = (stored: typeof before) => (stored === undefined ? undefined : new KeyRecord(key, stored));
  return { type: "key", keyBytes: key, before: record(before), after: record(after) };
}
