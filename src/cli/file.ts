/**
 * `holdfast file`: files and folders in buckets.
 *
 *   file-put.ts     put                     file-bucket.ts  bucket create, set, list, delete, passphrase
 *   file-get.ts     get, cat                file-sync.ts    sync
 *   file-list.ts    ls, stat, versions      file-verify.ts  verify
 *   file-change.ts  rm, mv, cp
 *
 * What they share: file-place.ts (`bucket:path`, `--at`, secrets), tree-report.ts (progress and account), file-text.ts.
 */
import type { Command } from "commander";
import { addBucket } from "./file-bucket.ts";
import { addCopy, addMove, addRemove } from "./file-change.ts";
import { addCat, addGet } from "./file-get.ts";
import { addList, addStat, addVersions } from "./file-list.ts";
import { addPut } from "./file-put.ts";
import { addSync } from "./file-sync.ts";
import { addVerify } from "./file-verify.ts";

export function addTo(command: Command): void {
  addPut(command);
  addGet(command);
  addCat(command);
  addList(command);
  addStat(command);
  addVersions(command);
  addRemove(command);
  addMove(command);
  addCopy(command);
  addSync(command);
  addVerify(command);
  addBucket(command);
  command.addHelpText(
    "after",
    `
A place in a store is BUCKET:PATH.

Examples:
  $ holdfast file put ~/photos photos:all       a folder; again: only what has changed
  $ holdfast file ls -l photos:all
  $ holdfast file get photos:all ./copy
  $ holdfast file cat notes:todo.txt
  $ holdfast file sync ~/notes notes:           both ways`,
  );
}
