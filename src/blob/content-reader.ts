/**
 * The bytes of a content out of its blobs, a range of them, in order, with some chunks read ahead.
 *
 * Everything that is given out has been checked: chunks and lists against their hashes, sizes against the lists and the
 * file's entry. A chunk that is absent (`notFound`) or damaged (`corrupt`) ends a reading that needs it, when its turn
 * comes; readings of other ranges do not touch it.
 */
import { abortable, HoldfastError, throwIfAborted, toHex } from "../base/index.ts";
import type { Digest } from "../base/index.ts";
import type { ChunkCiphers } from "./chunk-cipher.ts";
import { openChunk, openInline } from "./chunk-maker.ts";
import { checkContentRoot, decodeChunkList } from "./content.ts";
import type { ContentChild } from "./content.ts";
import type { ChunkPipeline, Content, GatheredContent } from "./pipeline.ts";
import type { Hash, StoredBlob } from "./store.ts";

/** Chunks that are fetched and opened at a time; fewer when they are large. */
const readAheadCountDefault = 8;
const readAheadSizeMax = 8_388_608;

export interface ContentSource {
  /** The stored form of a blob; undefined if it is absent. Calls overlap. */
  readonly get: (hash: Hash) => Promise<StoredBlob | undefined>;
  readonly pipeline: Pick<ChunkPipeline, "open" | "openInline">;
}

export interface ReadContentOptions {
  /** From this byte on, and before this one; 0 and the size of the content by default. What is beyond the size is not there. */
  readonly start?: number | undefined;
  readonly end?: number | undefined;
  /** Of an encrypted bucket. `denied` when it is another one. */
  readonly key?: Uint8Array | undefined;
  /** At least 1. */
  readonly readAheadCount?: number | undefined;
  /** Ends the reading with `cancelled` or `timeout`. */
  readonly signal?: AbortSignal | undefined;
}

/** A chunk, and where it begins in the file. */
export interface LocatedChunk extends ContentChild {
  readonly offset: number;
}

/** The bytes of the range, in arrays as they come out of the chunks; none is empty. */
export async function* readContent(
  source: ContentSource,
  content: Content,
  options: ReadContentOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { key, signal } = options;
  const [start, end] = rangeOf(content.size, options);
  throwIfAborted(signal);
  if (content.inline !== undefined) {
    const bytes = await abortable(source.pipeline.openInline(content.inline, key), signal);
    if (bytes.length !== content.size) throw wrongSize("a small file", bytes.length, content.size);
    if (start < end) yield bytes.subarray(start, end);
    return;
  }
  if (start >= end) return;
  const chunks = locateChunks(source, content, start, end);
  const ahead: { readonly chunk: LocatedChunk; readonly bytes: Promise<Uint8Array> }[] = [];
  const countMax = Math.max(1, options.readAheadCount ?? readAheadCountDefault);
  let aheadSize = 0;
  let isDone = false;
  for (;;) {
    while (!isDone && ahead.length < countMax && (ahead.length === 0 || aheadSize < readAheadSizeMax)) {
      const next = await abortable(chunks.next(), signal);
      if (next.done === true) {
        isDone = true;
        break;
      }
      const bytes = readChunk(source, next.value, key);
      // A reading that ends early waits for none of them.
      bytes.catch(() => {});
      ahead.push({ chunk: next.value, bytes });
      aheadSize += next.value.size;
    }
    const head = ahead.shift();
    if (head === undefined) return;
    const bytes = await abortable(head.bytes, signal);
    const { offset, size } = head.chunk;
    aheadSize -= size;
    yield bytes.subarray(Math.max(0, start - offset), Math.min(size, end - offset));
    throwIfAborted(signal);
  }
}

/**
 * All blobs of a content, for `ChunkPipeline.place`. As with `readContent`, `notFound` or `corrupt` when one cannot be
 * read; what is in them is checked when they are opened.
 */
export async function gatherContent(
  source: ContentSource,
  content: Content,
  signal?: AbortSignal,
): Promise<GatheredContent> {
  const { size, inline } = content;
  if (inline !== undefined) return { size, inline, chunks: [] };
  const chunks: Promise<GatheredContent["chunks"][number]>[] = [];
  for await (const { hash, size: chunkSize, offset } of locateChunks(source, content, 0, size)) {
    const chunk = getStored(source, hash).then(
      (blob) => ({ hash, blob, size: chunkSize }),
      (error: unknown) => Promise.reject(placed(error, `chunk ${toHex(hash)}`, offset)),
    );
    // The first one that fails is told.
    chunk.catch(() => {});
    chunks.push(chunk);
  }
  return { size, inline: undefined, chunks: await abortable(Promise.all(chunks), signal) };
}

async function getStored(source: ContentSource, hash: Hash): Promise<StoredBlob> {
  const blob = await source.get(hash);
  if (blob === undefined) throw absent();
  return blob;
}

/** The bytes of a gathered content. They may be shared with its blobs. */
export function openGathered(
  digest: Digest,
  ciphers: ChunkCiphers,
  { size, inline, chunks }: GatheredContent,
  key: Uint8Array | undefined,
): Uint8Array {
  if (inline !== undefined) {
    const bytes = openInline(digest, ciphers, inline, key);
    if (bytes.length !== size) throw wrongSize("a small file", bytes.length, size);
    return bytes;
  }
  const whole = chunks.length === 1 ? undefined : new Uint8Array(size);
  let offset = 0;
  for (const { hash, blob, size: chunkSize } of chunks) {
    try {
      const bytes = openChunk(digest, ciphers, hash, blob, key);
      if (bytes.length !== chunkSize) throw wrongSize("it", bytes.length, chunkSize);
      if (whole === undefined) return bytes;
      whole.set(bytes, offset);
    } catch (error) {
      throw placed(error, `chunk ${toHex(hash)}`, offset);
    }
    offset += chunkSize;
  }
  return whole ?? new Uint8Array(0);
}

/**
 * The chunks that have bytes of the range, in order. Lists are read as they are needed, each a little before its turn.
 * `notFound` or `corrupt` when a list cannot be read.
 */
export async function* locateChunks(
  source: ContentSource,
  content: Content,
  start: number,
  end: number,
): AsyncGenerator<LocatedChunk, void, undefined> {
  checkContentRoot(content);
  const root = { hash: content.hash, size: content.size, offset: 0 };
  if (start < end) yield* below(source, root, content.depth, start, end);
}

async function* below(
  source: ContentSource,
  node: LocatedChunk,
  level: number,
  start: number,
  end: number,
  loading?: Promise<readonly ContentChild[]>,
): AsyncGenerator<LocatedChunk, void, undefined> {
  if (level === 0) {
    yield node;
    return;
  }
  const needed: LocatedChunk[] = [];
  let { offset } = node;
  for (const { hash, size } of await (loading ?? readList(source, node, level))) {
    if (offset < end && offset + size > start) needed.push({ hash, size, offset });
    offset += size;
  }
  // While the chunks of one list are read, the next list is on its way.
  let next: Promise<readonly ContentChild[]> | undefined;
  for (const [index, child] of needed.entries()) {
    const own = next ?? aheadOf(source, child, level - 1);
    next = aheadOf(source, needed[index + 1], level - 1);
    yield* below(source, child, level - 1, start, end, own);
  }
}

function aheadOf(
  source: ContentSource,
  node: LocatedChunk | undefined,
  level: number,
): Promise<readonly ContentChild[]> | undefined {
  if (level === 0 || node === undefined) return undefined;
  const list = readList(source, node, level);
  // If it fails, its turn may never come.
  list.catch(() => {});
  return list;
}

async function readList(
  source: ContentSource,
  { hash, size, offset }: LocatedChunk,
  level: number,
): Promise<readonly ContentChild[]> {
  try {
    const blob = await getStored(source, hash);
    return decodeChunkList(await source.pipeline.open(hash, blob), hash, level, size);
  } catch (error) {
    throw placed(error, `chunk list ${toHex(hash)}`, offset);
  }
}

async function readChunk(source: ContentSource, chunk: LocatedChunk, key: Uint8Array | undefined): Promise<Uint8Array> {
  const { hash, size, offset } = chunk;
  try {
    const blob = await getStored(source, hash);
    const bytes = await source.pipeline.open(hash, blob, key);
    if (bytes.length !== size) throw wrongSize("it", bytes.length, size);
    return bytes;
  } catch (error) {
    throw placed(error, `chunk ${toHex(hash)}`, offset);
  }
}

function absent(): HoldfastError {
  return new HoldfastError("notFound", "it is not in the store");
}

function wrongSize(what: string, actual: number, expected: number): HoldfastError {
  return new HoldfastError("corrupt", `${what} has ${actual} bytes instead of ${expected}`);
}

/** The same failure, with the place in the file. */
function placed(error: unknown, what: string, offset: number): unknown {
  if (!(error instanceof HoldfastError)) return error;
  const { code, maybe, message } = error;
  return new HoldfastError(code, `${what} at offset ${offset} of the file cannot be read: ${message}`, {
    maybe,
    cause: error,
  });
}

function rangeOf(
  size: number,
  { start = 0, end = Math.max(start, size) }: ReadContentOptions,
): readonly [number, number] {
  if (Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && end >= start) {
    return [Math.min(start, size), Math.min(end, size)];
  }
  throw new HoldfastError(
    "invalid",
    `the range from byte ${start} to ${end} is none: both must be whole numbers from 0, and the end not before the start`,
  );
}
