/**
 * Paths inside a tree: names with `/` between, relative to its top, which is the empty path. Two trees are compared in one
 * pass because both sides come in the same order, that of the bytes of whole paths: `a`, then `a-b`, then `a/x`, since
 * `-` sorts before `/`.
 */
import { compareBytes, HoldfastError, pathBytes, temporaryPrefix } from "../base/index.ts";

/** Negative, zero or positive as the bytes of `a` sort before, with or after those of `b`. */
export function comparePaths(a: string, b: string): number {
  if (a === b) return 0;
  const size = Math.min(a.length, b.length);
  let at = 0;
  while (at < size && a.charCodeAt(at) === b.charCodeAt(at)) at++;
  if (at === size) return a.length - b.length;
  const [one, other] = [a.charCodeAt(at), b.charCodeAt(at)];
  // Below the surrogates the order of code units is that of the bytes of UTF-8.
  if (one < 0xd800 && other < 0xd800) return one - other;
  return compareBytes(pathBytes(a), pathBytes(b));
}

/** `""` and `x` make `x`. */
export function joinPath(folder: string, name: string): string {
  if (folder === "" || name === "") return folder + name;
  return folder.endsWith("/") ? folder + name : `${folder}/${name}`;
}

/** The folder that something is in; empty at the top. */
export function parentPath(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf("/"), 0));
}

export function namePart(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** Why a path of a bucket cannot be a place below a folder of a file system; undefined if it can. */
export function unsafeReason(path: string): string | undefined {
  if (path.includes("\0")) return "it has a NUL byte";
  for (const name of path.split("/")) {
    if (name === "") return "it has an empty name";
    if (name === "." || name === "..") return `it has the name "${name}", which would lead elsewhere`;
  }
  return undefined;
}

/** A file that is being fetched stands beside its place under a name that begins so; see partial-file.ts. */
export const partialPrefix = ".holdfast-partial-";
/** What a folder had when it was last synchronised. */
export const syncStateName = ".holdfast-sync";

/** Names in a folder that Holdfast itself makes: they are no part of any tree. */
export function isOwnName(name: string): boolean {
  if (!name.startsWith(".holdfast-")) return false;
  if (name.startsWith(partialPrefix) || name.startsWith(temporaryPrefix)) return true;
  return name === syncStateName || name.startsWith(`${syncStateName}-`);
}

/** The prefix of a tree in its bucket, without the `/` at its end. */
export function checkedTreePrefix(prefix: string): string {
  const trimmed = prefix.replace(/\/+$/, "");
  if (trimmed === "" || unsafeReason(trimmed) === undefined) return trimmed;
  throw new HoldfastError(
    "invalid",
    `${JSON.stringify(prefix)} cannot hold a tree: ${unsafeReason(trimmed)}; give names with one "/" between them`,
  );
}
