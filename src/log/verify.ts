/**
 * Reads a journal's files as they are and reports every damaged place, going on behind each. It needs no open journal,
 * so it also explains why one refuses to open. Like `open`, it takes a bad batch with nothing sound behind it for what a
 * crash tore, unless it is told where the batches end.
 */
import { giveWay, HoldfastError, throwIfAborted } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { damageText } from "./scan.ts";
import {
  decodeBatch,
  decodeSegmentHeader,
  findBatchMagic,
  findNonZero,
  segmentHeaderSize,
  segmentName,
  segmentSequence,
} from "./segment.ts";

export interface JournalReport {
  /** Bytes read and records found sound since the last report. */
  readonly size: number;
  readonly count: number;
  /** One text for each damaged place: file, offset, and what is wrong. */
  readonly damages: readonly string[];
}

export interface JournalVerifyOptions {
  /** The file that is being written to, of which what lies behind `activeEnd` is not looked at. */
  readonly activePath?: string;
  readonly activeEnd?: number;
  readonly signal?: AbortSignal;
}

/** One report a segment. */
export async function* verifyJournal(
  env: Pick<Env, "clock" | "disk" | "digest">,
  directory: string,
  options: JournalVerifyOptions = {},
): AsyncGenerator<JournalReport, void, undefined> {
  const sequences = (await env.disk.list(directory))
    .map(segmentSequence)
    .filter((sequence) => sequence !== undefined)
    .toSorted((a, b) => a - b);
  let expected: number | undefined;
  let before: number | undefined;
  let torn: string | undefined;
  for (const sequence of sequences) {
    throwIfAborted(options.signal);
    await giveWay(env.clock);
    const path = `${directory}/${segmentName(sequence)}`;
    const damages: string[] = [];
    if (before !== undefined && sequence !== before + 1) {
      damages.push(
        damageText(`${directory}/${segmentName(before + 1)}`, 0, "the file is missing between its neighbours"),
      );
      expected = undefined;
    }
    before = sequence;
    const bytes = await readWhole(env, path);
    // Trimmed meanwhile.
    if (bytes === undefined) continue;
    const end = path === options.activePath ? options.activeEnd : undefined;
    const found = checkSegment(env, path, bytes, { end, expected });
    expected = found.next;
    // What a crash tore is at the very end, and the next start cuts it off. With a batch behind it, it is damage.
    if (torn !== undefined && found.count > 0) damages.push(torn);
    torn = found.torn ?? (found.count > 0 ? undefined : torn);
    yield { size: end ?? bytes.length, count: found.count, damages: [...damages, ...found.damages] };
    // What has been written behind it since is not looked at either.
    if (path === options.activePath) return;
  }
}

async function readWhole(env: Pick<Env, "disk">, path: string): Promise<Uint8Array | undefined> {
  try {
    const file = await env.disk.open(path, "read");
    try {
      return await file.read(0, await file.size());
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof HoldfastError && error.code === "notFound") return undefined;
    throw error;
  }
}

interface Expectation {
  /** Where the batches end, if it is known. */
  readonly end: number | undefined;
  /** The position at which the segment must begin, if it is known. */
  readonly expected: number | undefined;
}

function checkSegment(
  env: Pick<Env, "digest">,
  path: string,
  bytes: Uint8Array,
  { end, expected }: Expectation,
): { count: number; next: number | undefined; damages: string[]; torn: string | undefined } {
  const damages: string[] = [];
  let torn: string | undefined;
  const report = (offset: number, what: string) => damages.push(damageText(path, offset, what));
  const header = decodeSegmentHeader(env.digest, bytes);
  if (header === undefined) {
    report(0, "the header is not sound");
    return { count: 0, next: undefined, damages, torn };
  }
  if (header.size !== bytes.length) report(bytes.length, `the file ends here; its header says ${header.size} bytes`);
  const stop = end ?? bytes.length;
  let offset = segmentHeaderSize;
  let next = expected;
  let count = 0;
  while (offset < stop) {
    const batch = decodeBatch(env.digest, header.nonce, bytes, offset, offset);
    if (batch === undefined) {
      const sound = findSound(env, header.nonce, bytes, offset + 1);
      if (sound !== undefined) report(offset, `the batch is not sound; the next sound one begins at offset ${sound}`);
      else if (end !== undefined) report(offset, "the batch is not sound");
      else if (findNonZero(bytes, offset) >= 0) {
        torn = damageText(path, findNonZero(bytes, offset), "there are bytes that belong to no sound batch");
      }
      if (sound === undefined) break;
      offset = sound;
      next = undefined;
      continue;
    }
    if (next !== undefined && batch.position !== next)
      report(offset, `it begins at position ${batch.position}, not at ${next}`);
    next = batch.position + batch.records.length;
    count += batch.records.length;
    offset += batch.size;
  }
  return { count, next, damages, torn };
}

function findSound(env: Pick<Env, "digest">, nonce: Uint8Array, bytes: Uint8Array, from: number): number | undefined {
  for (let at = findBatchMagic(bytes, from); at >= 0; at = findBatchMagic(bytes, at + 1)) {
    if (decodeBatch(env.digest, nonce, bytes, at, at) !== undefined) return at;
  }
  return undefined;
}
