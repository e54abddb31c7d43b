/**
 * The contents of files in a state, for those who walk all of them: which entries there are, whose they are, and which
 * blobs lie below each.
 */
import { giveWay, HoldfastError, toHex, utf8Decode } from "../base/index.ts";
import type { Clock } from "../base/index.ts";
import { decodeChunkList } from "../blob/index.ts";
import type { BlobStore, Hash } from "../blob/index.ts";
import { diff } from "../tree/index.ts";
import { StoredFile } from "./file/file-operation.ts";
import { fileRanges } from "./file/layout.ts";
import type { HeldState } from "./held.ts";

/** Bytes of a tree's state that is read here. */
export type ReadableTree = HeldState["tree"];

/** How long entries are looked at before other work has its turn. */
const sliceMs = 4;
/** A key under 'v' ends with a zero, a revision and an index. */
const versionTailSize = 13;
const versionSpace = 0x76;

/** Where the bytes of a file are: only of files that have chunks. */
export interface ChunkedContent {
  /** 32 bytes. */
  readonly hash: Hash;
  /** Levels of chunk lists above the chunks. */
  readonly depth: number;
}

/** One version of a file. */
export interface FilePlace {
  readonly bucket: string;
  readonly path: Uint8Array;
  /** The revision that wrote it. */
  readonly revision: number;
}

/** An entry of the file view that has chunks. */
export interface FileEntry extends ChunkedContent {
  /** Decoded when asked for. */
  place(): FilePlace;
}

/** The entry behind a key and value of `fileRanges`; undefined if it has no chunks. Keeps both as they are. */
function fileEntry(key: Uint8Array, value: Uint8Array): FileEntry | undefined {
  const { content, revision } = StoredFile.decode(value);
  if (content === undefined || content.hash.length === 0) return undefined;
  return { hash: content.hash, depth: content.depth, place: () => ({ ...placeOf(key), revision }) };
}

function placeOf(key: Uint8Array): Pick<FilePlace, "bucket" | "path"> {
  const zero = key.indexOf(0, 2);
  const end = key[1] === versionSpace ? key.length - versionTailSize : key.length;
  return { bucket: utf8Decode(key.subarray(2, zero)), path: key.slice(zero + 1, end) };
}

/** For messages: `photos:2026/a.jpg at revision 17`. */
export function placeName({ bucket, path, revision }: FilePlace): string {
  return `${bucket}:${new TextDecoder().decode(path)} of revision ${revision}`;
}

export interface WalkOptions {
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

/**
 * What two states have not in common, both ways: `before` is gone in the second one, `after` is new there. Without a first
 * state all of the second is new. The cost grows with the difference.
 */
export interface FileChanges {
  readonly before: FileEntry | undefined;
  readonly after: FileEntry | undefined;
}

/** Gives way between slices. */
export async function* fileChanges(
  first: ReadableTree | undefined,
  second: ReadableTree,
  { clock, signal }: WalkOptions,
): AsyncGenerator<readonly FileChanges[], void, undefined> {
  let sliceEndMs = clock.monotonicMs() + sliceMs;
  for (const range of fileRanges) {
    const batches = first === undefined ? wholeRange(second, range, signal) : diff(first, second, { range, signal });
    for await (const batch of batches) {
      const changes: FileChanges[] = [];
      for (const { key, before, after } of batch) {
        const change = {
          before: before === undefined ? undefined : fileEntry(key, before),
          after: after === undefined ? undefined : fileEntry(key, after),
        };
        if (change.before !== undefined || change.after !== undefined) changes.push(change);
      }
      if (changes.length > 0) yield changes;
      if (clock.monotonicMs() < sliceEndMs) continue;
      await giveWay(clock);
      sliceEndMs = clock.monotonicMs() + sliceMs;
    }
  }
}

async function* wholeRange(tree: ReadableTree, range: { start: Uint8Array; end: Uint8Array }, signal?: AbortSignal) {
  for await (const batch of tree.entries({ ...range, signal })) {
    yield batch.map(({ key, value }) => ({ key, before: undefined, after: value }));
  }
}

/** A list of which the children are not known: it is `absent` here, or its bytes are sound but no list (`invalid`). */
export type ListOutcome = readonly Hash[] | "absent" | "invalid";

/** The children of a chunk list. */
export async function readList(chunks: BlobStore, hash: Hash, level: number): Promise<ListOutcome> {
  let bytes: Uint8Array | undefined;
  try {
    bytes = await chunks.get(hash);
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== "corrupt") throw error;
  }
  if (bytes === undefined) return "absent";
  try {
    return decodeChunkList(bytes, hash, level, undefined).map((child) => child.hash);
  } catch (error) {
    if (error instanceof HoldfastError && error.code === "corrupt") return "invalid";
    throw error;
  }
}

/** Names a list in a set: the same bytes may be a chunk of one file and a list of another. */
export function listName(hash: Hash, level: number): string {
  return `${level} ${toHex(hash)}`;
}
