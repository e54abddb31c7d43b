/**
 * What a path of the disk door looks like, so that every disk refuses the same ones: names joined by `/`, relative to
 * the root, none of them empty, `.` or `..`, and no NUL, backslash or drive letter, which some system would give a
 * meaning.
 */
import { HoldfastError } from "./errors.ts";

/** Throws `invalid` unless `path` names something below the root; with `rootAllowed`, the empty path is the root. */
export function checkDiskPath(path: string, rootAllowed: boolean): void {
  if (path === "" && rootAllowed) return;
  const plain = path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
  if (plain && !/[\0\\]/.test(path) && !/^[A-Za-z]:/.test(path)) return;
  throw new HoldfastError(
    "invalid",
    `${JSON.stringify(path)} is no path inside the data directory; give names joined by "/", without "." or ".."`,
  );
}
