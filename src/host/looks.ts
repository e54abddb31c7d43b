/**
 * Looks at the names of a folder, many at a time.
 *
 * What the system has in memory it says in microseconds, while asking through another thread costs the event loop several
 * times as much: so it is asked here and now, as long as it answers at once. When an answer takes longer, because it comes
 * from a disk or a network, the next names are asked for without waiting, and after a while it is tried again.
 */
import * as fs from "node:fs";
import { pathText } from "../base/index.ts";
import type { FolderEntry } from "../base/index.ts";
import { isAbsence } from "./disk-error.ts";
import { nextTurn } from "./env.ts";
import { fileError, placeOf } from "./file-error.ts";
import { fileStat } from "./file-stat.ts";

/** An answer that takes longer was not in memory. */
const promptMs = 0.2;
/** How long one turn of the event loop asks. */
const turnMs = 1;
/** Names that are not waited for after an answer that took long. */
const patientCount = 1_024;

type Name = { readonly name: string; readonly place: string | Buffer };

export class Looks {
  #patientLeft = 0;

  /** The entries of a folder with these names, whose characters are bytes. What has vanished is left out. */
  async all(path: string, names: readonly string[]): Promise<FolderEntry[]> {
    const folder = path.endsWith("/") ? path : `${path}/`;
    const all = namesIn(folder, names);
    const entries: FolderEntry[] = [];
    for (let next = 0; next < all.length;) {
      if (this.#patientLeft > 0) {
        const some = all.slice(next, next + this.#patientLeft);
        this.#patientLeft -= some.length;
        next += some.length;
        for (const entry of await lookAtAll(folder, some)) entries.push(entry);
        continue;
      }
      next = this.#askNow(folder, all, next, entries);
      if (next < all.length && this.#patientLeft === 0) await nextTurn();
    }
    return entries;
  }

  /** From `next` on, until a turn is over or an answer has taken long; the next one that was not asked for. */
  #askNow(folder: string, all: readonly Name[], from: number, entries: FolderEntry[]): number {
    const startMs = performance.now();
    let nowMs = startMs;
    let next = from;
    while (next < all.length && nowMs - startMs < turnMs && this.#patientLeft === 0) {
      const { name, place } = all[next++] as Name; // The index is inside.
      const stats = lookNow(folder + name, place);
      if (stats !== undefined) entries.push({ name, stat: fileStat(stats) });
      const endMs = performance.now();
      if (endMs - nowMs > promptMs) this.#patientLeft = patientCount;
      nowMs = endMs;
    }
    return next;
  }
}

function lookNow(path: string, place: string | Buffer): fs.BigIntStats | undefined {
  try {
    return fs.lstatSync(place, { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw fileError(error, "look at", path);
  }
}

function namesIn(folder: string, names: readonly string[]): Name[] {
  const plainFolder = folder.isWellFormed();
  return names.map((bytes) => {
    // oxlint-disable-next-line no-control-regex
    const plain = /^[\u0000-\u007f]*$/.test(bytes);
    const name = plain ? bytes : pathText(Buffer.from(bytes, "latin1"));
    return { name, place: plain && plainFolder ? folder + name : placeOf(folder + name) };
  });
}

function lookAtAll(folder: string, names: readonly Name[]): Promise<FolderEntry[]> {
  const entries: (FolderEntry | undefined)[] = Array.from({ length: names.length });
  return new Promise((resolve, reject) => {
    let left = names.length;
    for (const [index, { name, place }] of names.entries()) {
      fs.lstat(place, { bigint: true }, (error, stats) => {
        if (error === null) entries[index] = { name, stat: fileStat(stats) };
        else if (!isAbsence(error)) reject(fileError(error, "look at", folder + name));
        left--;
        if (left === 0) resolve(entries.filter((entry) => entry !== undefined));
      });
    }
  });
}
