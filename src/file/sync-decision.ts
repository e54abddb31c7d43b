/**
 * What is to be done with one path, from what both sides had in common the last time and what each has now.
 *
 * | disk      | bucket    | what is done                                                            |
 * | --------- | --------- | ----------------------------------------------------------------------- |
 * | same      | same      | nothing                                                                 |
 * | changed   | same      | upload                                                                  |
 * | same      | changed   | download                                                                |
 * | changed   | changed   | compare: nothing if they are alike, else both are kept under two names  |
 * | gone      | same      | with `delete` it goes from the bucket, else it is fetched again         |
 * | same      | gone      | with `delete` it goes from the disk, else it is uploaded again          |
 * | gone      | changed   | download: a change wins over a deletion                                 |
 * | changed   | gone      | upload: a change wins over a deletion                                   |
 * | gone      | gone      | forgotten                                                               |
 *
 * A path that was not there the last time counts as changed on the side that has it.
 */
import { pathBytes } from "../base/index.ts";

export type SyncAction = "none" | "upload" | "download" | "compare" | "deleteStored" | "deleteLocal" | "forget";

/** `absent`: it is not there and was not there the last time. */
export type SideState = "same" | "changed" | "gone" | "absent";

export function decideSync(local: SideState, stored: SideState, propagateDeletions: boolean): SyncAction {
  const isLocal = local === "same" || local === "changed";
  const isStored = stored === "same" || stored === "changed";
  if (isLocal && isStored) {
    if (local === stored) return local === "same" ? "none" : "compare";
    return local === "changed" ? "upload" : "download";
  }
  if (isLocal) return stored === "gone" && local === "same" && propagateDeletions ? "deleteLocal" : "upload";
  if (isStored) return local === "gone" && stored === "same" && propagateDeletions ? "deleteStored" : "download";
  return "forget";
}

const nameSizeMax = 255;

/** `a/b.txt` becomes `a/b (conflict LABEL).txt`, from the second on `a/b (conflict LABEL 2).txt`. */
export function conflictPath(path: string, label: string, number: number): string {
  const slash = path.lastIndexOf("/");
  const name = path.slice(slash + 1);
  const dot = name.lastIndexOf(".");
  // A name that begins with a dot has no extension there.
  const cut = dot > 0 ? dot : name.length;
  const end = ` (conflict ${number > 1 ? `${label} ${number}` : label})${name.slice(cut)}`;
  let base = name.slice(0, cut);
  while (base.length > 1 && pathBytes(base + end).length > nameSizeMax) base = base.slice(0, -1);
  // Half a character is none.
  return path.slice(0, slash + 1) + base.replace(/[\uD800-\uDBFF]$/, "") + end;
}
