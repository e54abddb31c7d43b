/** What the system says of a file, as `FileSystem` has it. */
import { constants } from "node:fs";
import type { BigIntStats } from "node:fs";
import type { FileStat } from "../base/index.ts";

const { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } = constants;

export function fileStat(stats: BigIntStats): FileStat {
  const mode = Number(stats.mode);
  const kind = mode & S_IFMT;
  return {
    type: kind === S_IFREG ? "file" : kind === S_IFDIR ? "folder" : kind === S_IFLNK ? "link" : "other",
    size: Number(stats.size),
    mode: mode & 0o7777,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    modifiedNs: stats.mtimeNs,
    changedNs: stats.ctimeNs,
    device: stats.dev,
    inode: stats.ino,
    linkCount: Number(stats.nlink),
  };
}
