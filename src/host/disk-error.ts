/**
 * How a failed system call of the file system becomes a `HoldfastError`: one table, and messages that name the path,
 * the system's code and what to do.
 */
import { HoldfastError } from "../base/index.ts";
import type { ErrorCode } from "../base/index.ts";

interface Meaning {
  readonly code: ErrorCode;
  readonly remedy: string;
}

const denied = "check the owner and the permissions, and that the file system is mounted for writing";
const meanings: Readonly<Record<string, Meaning>> = {
  ENOENT: { code: "notFound", remedy: "no such file or directory" },
  EEXIST: { code: "exists", remedy: "something of that name exists" },
  ENOSPC: { code: "exhausted", remedy: "no space is left on the file system; free some or move the data directory" },
  EDQUOT: { code: "exhausted", remedy: "the disk quota is used up; raise it or move the data directory" },
  EFBIG: { code: "exhausted", remedy: "the file would exceed what the file system or `ulimit -f` allows" },
  EMFILE: { code: "exhausted", remedy: "too many open files in this process; raise `ulimit -n`" },
  ENFILE: { code: "exhausted", remedy: "too many open files on this machine" },
  ENOMEM: { code: "exhausted", remedy: "the machine is out of memory" },
  EACCES: { code: "denied", remedy: denied },
  EPERM: { code: "denied", remedy: denied },
  EROFS: { code: "denied", remedy: denied },
  EISDIR: { code: "invalid", remedy: "it is a directory" },
  ENOTDIR: { code: "invalid", remedy: "a part of the path is not a directory" },
  ENAMETOOLONG: { code: "invalid", remedy: "the name is too long for the file system" },
  ELOOP: { code: "invalid", remedy: "too many symbolic links" },
};

/** The system's name of a failure, such as `ENOSPC`; undefined for anything else. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** `action` is a verb, `path` the full path as the system knows it. */
export function diskError(error: unknown, action: string, path: string): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const system = systemCode(error);
  const meaning = system === undefined ? undefined : meanings[system];
  const what = meaning?.remedy ?? (error instanceof Error ? error.message : String(error));
  const suffix = system === undefined || meaning === undefined ? "" : ` (${system})`;
  return new HoldfastError(meaning?.code ?? "unavailable", `cannot ${action} ${path}: ${what}${suffix}`, {
    cause: error,
  });
}

/** Nothing has the name. */
export function isAbsence(error: unknown): boolean {
  const code = systemCode(error);
  return code === "ENOENT" || code === "ENOTDIR";
}
