/** What putting, getting and synchronising whole trees share: parts, progress, what is reported of single paths. */
import { equalBytes, HoldfastError, readUint32BE, utf8Encode } from "../base/index.ts";
import type { Digest, FileStat, FileSystem } from "../base/index.ts";
import type { ChunkSettings, ChunkSink, Content } from "../blob/index.ts";
import type { FileContent } from "../view/index.ts";
import type { FileIdentity } from "./file-attributes.ts";
import type { FileParts } from "./file-parts.ts";
import type { Files } from "./files.ts";
import type { TreeSource } from "./tree-merge.ts";

/** What trees need of `Files`. */
export type TreeFiles = TreeSource & Pick<Files, "settings" | "info" | "uploadFile" | "putMany" | "move">;

export interface TreeParts extends Pick<FileParts, "env" | "chunks" | "pipeline"> {
  readonly fileSystem: FileSystem;
}

/** How far the work is. Changes as it goes on. */
export interface TreeProgress {
  /** Files, folders and links that are done with. */
  count: number;
  /** Bytes of those files, and of what is done of the others. */
  size: number;
  /** Bytes that were new to the other side, as they are stored or written. */
  newSize: number;
  /** How much there is, once that is known. */
  countTotal: number | undefined;
  sizeTotal: number | undefined;
}

/** What became of one path. Of `unchanged` ones nothing is said. */
export type TreeEventType =
  | "new"
  | "changed"
  | "deleted"
  /** Neither file, folder nor link; or a part of the tree that was not to be entered. */
  | "skipped"
  /** It was written to whenever it was read: what is stored may be of no single moment. */
  | "unstable"
  | "failed";

export interface TreeEvent {
  readonly type: TreeEventType;
  /** In the tree; empty for its top. */
  readonly path: string;
  /** Why, for what was not done. */
  readonly error?: HoldfastError | undefined;
}

export interface TreeOptions {
  readonly signal?: AbortSignal | undefined;
  /** Say what would be done, and do nothing. */
  readonly dryRun?: boolean | undefined;
  /** Files under way at once. */
  readonly parallelCount?: number | undefined;
  readonly progress?: ((progress: TreeProgress) => void) | undefined;
  readonly report?: ((event: TreeEvent) => void) | undefined;
}

/** What a run did, or with `dryRun` would do. */
export interface TreeOutcome {
  newCount: number;
  changedCount: number;
  unchangedCount: number;
  deletedCount: number;
  skippedCount: number;
  unstableCount: number;
  failedCount: number;
  /** Plain files that are in the tree now, and their bytes; of those, files that were there as they are. */
  fileCount: number;
  size: number;
  unchangedFileCount: number;
  newSize: number;
  /** Of the newest change; 0 if there was none. */
  revision: number;
}

/** Counts and tells. */
export class TreeAccount {
  readonly outcome: TreeOutcome = {
    newCount: 0,
    changedCount: 0,
    unchangedCount: 0,
    deletedCount: 0,
    skippedCount: 0,
    unstableCount: 0,
    failedCount: 0,
    fileCount: 0,
    size: 0,
    unchangedFileCount: 0,
    newSize: 0,
    revision: 0,
  };
  readonly state: TreeProgress = { count: 0, size: 0, newSize: 0, countTotal: undefined, sizeTotal: undefined };
  readonly #options: TreeOptions;

  constructor(options: TreeOptions) {
    this.#options = options;
  }

  /** Bytes went by; negative when they are to be read again. */
  read(size: number): void {
    this.state.size += size;
    this.#tell();
  }

  /** A plain file of this size is, or would be, in the tree. */
  holds(size: number): void {
    this.outcome.fileCount++;
    this.outcome.size += size;
  }

  stored(newSize: number): void {
    this.state.newSize += newSize;
    this.outcome.newSize += newSize;
  }

  /** One path is done with. `size`: bytes that `read` was not told of. */
  done(type: TreeEventType | "unchanged", path: string, size = 0, error?: HoldfastError): void {
    this.outcome[`${type}Count`]++;
    if (type !== "unchanged") this.#options.report?.({ type, path, error });
    if (type === "unstable" || type === "deleted") return;
    this.state.count++;
    this.state.size += size;
    this.#tell();
  }

  #tell(): void {
    this.#options.progress?.(this.state);
  }
}

/**
 * The error of one file, which does not stop the others: it cannot be read or written, or has gone. Undefined for what
 * concerns the store, and so everything.
 */
export function errorOfFile(error: unknown, path: string): HoldfastError | undefined {
  if (!(error instanceof HoldfastError)) return undefined;
  if (["notFound", "denied", "invalid", "exists", "corrupt"].includes(error.code)) return error;
  // An input/output error has the same code as a store out of reach; the file system names the path.
  const local = error.code === "unavailable" && !error.maybe && path !== "" && error.message.includes(path);
  return local ? error : undefined;
}

/** Whether the entry is of exactly this file, as nobody has changed it since: then it need not be read. */
export function isUnchanged(content: FileContent, stat: FileStat): boolean {
  return (
    content.type === stat.type &&
    (content.type === "link" || content.size === stat.size) &&
    content.modifiedNs === stat.modifiedNs &&
    content.changedNs === stat.changedNs &&
    content.changedNs !== 0n &&
    content.inode === stat.inode &&
    content.device === stat.device &&
    sameOwner(content, stat)
  );
}

export function sameOwner(content: Pick<FileContent, "mode" | "uid" | "gid">, stat: FileStat): boolean {
  return content.mode === stat.mode && content.uid === stat.uid && content.gid === stat.gid;
}

/** A write in the same tick of the system's clock as the last would leave the times as they are. Ticks are 10 ms at most. */
const tickNs = 100_000_000n;

/**
 * Whether a later write to the file must change its times, since not both of them are of this moment. `nowMs` is after it
 * was read. Somebody may have set the time of the last write to any other.
 */
export function isSettled({ modifiedNs, changedNs }: FileStat, nowMs: number): boolean {
  const nowNs = BigInt(Math.floor(nowMs)) * 1_000_000n;
  return !isNear(modifiedNs, nowNs) || !isNear(changedNs, nowNs);
}

function isNear(ns: bigint, nowNs: bigint): boolean {
  return ns + tickNs >= nowNs && ns <= nowNs + tickNs;
}

/** What an entry keeps of a file that was read, so that it is known again. */
export function identityOf(stat: FileStat, nowMs: number): FileIdentity {
  return { changedNs: isSettled(stat, nowMs) ? stat.changedNs : 0n, device: stat.device, inode: stat.inode };
}

export function ownerOf({
  mode,
  uid,
  gid,
  modifiedNs,
}: FileStat): Pick<FileStat, "mode" | "uid" | "gid" | "modifiedNs"> {
  return { mode, uid, gid, modifiedNs };
}

/** The number that all names of one file in this tree have in common; 0 for a file with one name. */
export function linkGroupOf(digest: Pick<Digest, "sha256">, prefix: string, stat: FileStat): bigint {
  if (stat.type !== "file" || stat.linkCount < 2) return 0n;
  const hash = digest.sha256(utf8Encode(`${prefix}\0${stat.device}\0${stat.inode}`));
  return (BigInt(readUint32BE(hash, 0)) << 32n) | BigInt(readUint32BE(hash, 4)) | 1n;
}

/** Takes nothing: the content is only named. */
const nowhere: ChunkSink = {
  wanted: async (hashes) => hashes.map(() => false),
  put: async () => {},
};

/** What the bytes of a file of this machine would be called in a bucket. */
export async function nameFile(
  { pipeline }: Pick<TreeParts, "pipeline">,
  path: string,
  settings: ChunkSettings,
  signal?: AbortSignal,
): Promise<Content & { readonly stat: FileStat; readonly changed: boolean }> {
  return pipeline.file(path, settings, nowhere, { signal });
}

/** What one chunk would be called. Undefined for bytes that would not be a chunk of their own. */
export async function nameChunk(
  { pipeline }: Pick<TreeParts, "pipeline">,
  bytes: Uint8Array,
  settings: ChunkSettings,
): Promise<Uint8Array | undefined> {
  // A chunk that is cut again stays whole: it ends where its bytes say so, or with them.
  const writer = pipeline.writer(settings, nowhere);
  await writer.write(bytes);
  const { depth, hash, inline } = await writer.end();
  return depth === 0 && inline === undefined ? hash : undefined;
}

/** Whether two contents of one bucket are the same bytes. False also where they were cut in other ways. */
export function sameContent(a: Content, b: Content): boolean {
  if (a.size !== b.size || a.depth !== b.depth) return false;
  return equalBytes(a.hash, b.hash) && equalBytes(a.inline ?? a.hash, b.inline ?? b.hash);
}
