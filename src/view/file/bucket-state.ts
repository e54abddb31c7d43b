/**
 * How buckets are made, changed and deleted.
 *
 * What a bucket was in the past is not kept. Where one is deleted, its old versions are out of reach at once: a bucket
 * that is not there is readable only from the revision on at which the last one was deleted, whichever that was, and so is
 * one that is made later. What is left of its versions goes with the sweeps that follow.
 */
import { equalBytes, readUint64BE, writeUint64BE } from "../../base/index.ts";
import { Refusal } from "../view.ts";
import type { ApplyContext, State } from "../view.ts";
import { BucketSettings } from "./file-operation.ts";
import { checkSettings, defaultBucketSettings } from "./file-rules.ts";
import { allPaths, bucketKey, deletionKey, fileRange, StoredBucket } from "./layout.ts";

export function decodeBucket(stored: Uint8Array): StoredBucket {
  // It is never written without its settings.
  return StoredBucket.decode(stored) as StoredBucket;
}

export function readBucket(state: Pick<State, "get">, name: string): StoredBucket | undefined {
  const stored = state.get(bucketKey(name));
  return stored === undefined ? undefined : decodeBucket(stored);
}

export function writeBucket(state: Pick<State, "put">, name: string, bucket: StoredBucket): void {
  state.put(bucketKey(name), StoredBucket.encodeBriefly(bucket));
}

/** From which revision on buckets can be read that are not there; 0 as long as none was deleted. */
function deletionRevision(state: Pick<State, "get">): number {
  const stored = state.get(deletionKey);
  return stored === undefined ? 0 : readUint64BE(stored, 0);
}

/** From which revision on the bucket can be read. */
export function historyRevision(state: Pick<State, "get">, name: string): number {
  return readBucket(state, name)?.historyRevision ?? deletionRevision(state);
}

function makeBucket(context: ApplyContext, name: string, settings: BucketSettings): StoredBucket {
  const { state, revision } = context;
  const bucket = { settings, createRevision: revision, historyRevision: deletionRevision(state) };
  writeBucket(state, name, bucket);
  context.changed();
  return bucket;
}

/** The bucket; one with the default settings if it was missing. */
export function bucketForPut(context: ApplyContext, name: string): StoredBucket {
  return readBucket(context.state, name) ?? makeBucket(context, name, defaultBucketSettings);
}

/** What a writer goes by when it puts a file; see `PutFile`. */
export interface SeenBucket {
  /** The revision that made it; 0: the writer has seen none. */
  readonly revision: number;
  /** Whether the file has bytes. */
  readonly bytes: boolean;
}

/** Whether the bytes of a file are made for the bucket that is there. */
export function checkSeen({ state, revision }: ApplyContext, name: string, seen: SeenBucket): Refusal | undefined {
  const bucket = readBucket(state, name);
  if (seen.revision === (bucket?.createRevision ?? 0)) return undefined;
  if (seen.revision !== 0) return anotherBucket(name, seen.revision, bucket);
  // Who has it made by this command knows how it is encrypted.
  if (!seen.bytes || bucket?.settings.encryption.length === 0 || bucket?.createRevision === revision) return undefined;
  const remedy = "read its settings, and put the file again with its key";
  return new Refusal("conflict", `bucket ${name} is encrypted, and the file was made without its key: ${remedy}`, {
    final: true,
  });
}

function anotherBucket(name: string, expected: number, found: StoredBucket | undefined): Refusal {
  const is = found === undefined ? "does not exist any more" : `was made at revision ${found.createRevision}`;
  const what = `bucket ${name} ${is}, and that of revision ${expected} was expected`;
  return new Refusal("conflict", `${what}: read its settings and begin again`, { final: true });
}

export interface SetConditions {
  readonly mustBeNew: boolean;
  /** The revision that made the bucket; 0: any. */
  readonly expected: number;
  /** The settings that it has; undefined: any. */
  readonly before: BucketSettings | undefined;
}

export function setBucket(
  context: ApplyContext,
  name: string,
  settings: BucketSettings,
  { mustBeNew, expected, before: seen }: SetConditions,
): Refusal | undefined {
  const refused = checkSettings(settings);
  if (refused !== undefined) return refused;
  const before = readBucket(context.state, name);
  if (expected !== 0 && before?.createRevision !== expected) return anotherBucket(name, expected, before);
  if (before === undefined) {
    makeBucket(context, name, settings);
    return undefined;
  }
  if (seen !== undefined && !isSame(before.settings, seen)) {
    const what = `the settings of bucket ${name} are no longer those that were read`;
    return new Refusal("conflict", `${what}: somebody else has changed them; read them and try again`);
  }
  if (mustBeNew) return new Refusal("exists", `bucket ${name} is there already; choose another name, or use it`);
  const encrypted = before.settings.encryption.length > 0;
  if (encrypted !== settings.encryption.length > 0) {
    const remedy = "make another bucket and put the files there";
    const what = encrypted ? "is encrypted, and that cannot end" : "is not encrypted, and that cannot begin";
    return new Refusal("invalid", `bucket ${name} ${what}; ${remedy}`);
  }
  writeBucket(context.state, name, { ...before, settings });
  context.changed();
  return undefined;
}

function isSame(a: BucketSettings, b: BucketSettings): boolean {
  return equalBytes(BucketSettings.encode(a), BucketSettings.encode(b));
}

export function deleteBucket(context: ApplyContext, name: string): Refusal | undefined {
  const { state, revision } = context;
  if (readBucket(state, name) === undefined) return new Refusal("notFound", `bucket ${name} does not exist`);
  const count = state.count(fileRange(name, allPaths));
  if (count > 0) {
    const entries = count === 1 ? "1 entry" : `${count} entries`;
    return new Refusal("conflict", `bucket ${name} is not empty: it has ${entries}; delete all of them first`);
  }
  state.delete(bucketKey(name));
  const stored = new Uint8Array(8);
  writeUint64BE(stored, 0, revision);
  state.put(deletionKey, stored);
  context.changed();
  return undefined;
}
