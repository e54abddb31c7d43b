/** Names of files and buckets as callers give them, checked before they go anywhere. */
import { HoldfastError, limits, pathBytes, pathText } from "../base/index.ts";

/**
 * Where a file is in its bucket: 1 to `limits.filePathSizeMax` bytes without NUL, by habit parts between `/`. Text is taken
 * as UTF-8, its lone surrogates U+DC80 to U+DCFF as the bytes 80 to ff (see base/file-system.ts).
 */
export type FilePath = string | Uint8Array;

/** The bytes of a path, the caller's no longer. */
export function checkedPath(path: FilePath, what = "the path"): Uint8Array {
  const bytes = checkedPrefix(path, what);
  if (bytes.length === 0) throw new HoldfastError("invalid", `${what} is empty; it has at least one byte`);
  return bytes;
}

/** The same for what paths begin with, which may be empty. */
export function checkedPrefix(prefix: FilePath, what = "the prefix"): Uint8Array {
  const bytes = encoded(prefix, what);
  if (bytes.includes(0)) throw new HoldfastError("invalid", `${what} has a NUL byte; a path may not hold one`);
  if (bytes.length <= limits.filePathSizeMax) return bytes;
  const limit = `the limit is ${limits.filePathSizeMax.toLocaleString("en")} (limits.filePathSizeMax)`;
  throw new HoldfastError("invalid", `${what} is ${bytes.length.toLocaleString("en")} bytes; ${limit}`);
}

function encoded(path: unknown, what: string): Uint8Array {
  if (path instanceof Uint8Array) return path.slice();
  if (typeof path !== "string") throw new HoldfastError("invalid", `${what} is text or bytes, not ${typeof path}`);
  if (/\p{Surrogate}/u.test(path.replaceAll(/[\uDC80-\uDCFF]/gu, ""))) {
    throw new HoldfastError("invalid", `${what} has a lone surrogate that stands for no byte; give bytes instead`);
  }
  return pathBytes(path);
}

/** A path in a message. */
export function described(bucket: string, path: Uint8Array): string {
  return `${bucket}:${pathText(path)}`;
}

/** The name of a bucket: 1 to `limits.nameSizeMax` of a–z, 0–9, `.`, `_` and `-`, a letter or digit first. */
export function checkedBucket(name: string): string {
  const valid = typeof name === "string" && /^[a-z0-9][a-z0-9._-]*$/.test(name) && name.length <= limits.nameSizeMax;
  if (valid) return name;
  const rule = `1 to ${limits.nameSizeMax} of a-z, 0-9, ".", "_" and "-", a letter or digit first`;
  throw new HoldfastError("invalid", `${JSON.stringify(name)} is no name for a bucket: a name is ${rule}`);
}
