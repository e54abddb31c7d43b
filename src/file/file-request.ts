/** What the calls of `Files` share: conditions, how fresh a read is, and what became of an operation. */
import { HoldfastError, revision } from "../base/index.ts";
import type { Init, Revision } from "../base/index.ts";
import { FileContent } from "../view/index.ts";
import type { FileResult, ReadOptions, StoredFile } from "../view/index.ts";

export interface FileConditions {
  /** Only if the file's current version was written at this revision; else `conflict`. 0: only if there is none. */
  readonly ifRevision?: number | undefined;
  /** Only if the file does not exist; else `conflict`. */
  readonly ifAbsent?: boolean | undefined;
}

/** What a copy, a move or a deletion has done. */
export interface FileOutcome {
  /** Of the change; the store's own if there was nothing to change. */
  readonly revision: Revision;
  /** Files copied, moved or deleted. */
  readonly count: number;
}

export function conditionOf({ ifRevision, ifAbsent }: FileConditions): number | undefined {
  if (ifRevision === undefined) return ifAbsent === true ? 0 : undefined;
  if (ifAbsent === true && ifRevision !== 0) {
    throw new HoldfastError("invalid", "ifAbsent and ifRevision exclude each other; give one of them");
  }
  return checkedRevision("ifRevision", ifRevision);
}

export function checkReading({
  consistency,
  atLeast,
  revision: wanted,
}: ReadOptions & { revision?: number | undefined }): void {
  if (atLeast !== undefined) checkedRevision("atLeast", atLeast);
  if (wanted !== undefined) checkedRevision("revision", wanted);
  if (consistency === undefined || ["linearizable", "local"].includes(consistency)) return;
  throw new HoldfastError("invalid", `consistency is ${consistency as string}; it must be "linearizable" or "local"`);
}

export function checkedRevision(name: string, at: number): Revision {
  if (Number.isSafeInteger(at) && at >= 0) return revision(at);
  throw new HoldfastError("invalid", `${name} is ${String(at)}; a revision is a whole number from 0`);
}

export function checkLimit(limit: number | undefined): void {
  if (limit === undefined || (Number.isSafeInteger(limit) && limit >= 0)) return;
  throw new HoldfastError("invalid", `limit is ${String(limit)}; it must be a whole number, 0 or more`);
}

const unknownResult = "the result is none that this version knows";

/** What a put of this content has stored, at this revision. */
export function storedOf(
  content: Init<typeof FileContent>,
  revision: Revision,
  answer: FileResult | undefined,
): StoredFile {
  if (answer?.result?.case !== "put") throw new HoldfastError("corrupt", unknownResult);
  const { version, createRevision, timeMs } = answer.result.value;
  // A copy with all defaults filled in, which the caller cannot change any more.
  return { content: FileContent.decode(FileContent.encode(content)), revision, createRevision, version, timeMs };
}

/** How many files a copy or a deletion has changed. */
export function countOf(answer: FileResult | undefined): number {
  const result = answer?.result;
  if (result?.case === "copy" || result?.case === "delete") return result.value.count;
  throw new HoldfastError("corrupt", unknownResult);
}
