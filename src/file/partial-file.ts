/**
 * A file while its bytes are being written: beside its place, under a name that nobody else gives. Its name says of which
 * file and contents it is, so that a run goes on with what another one has left behind.
 *
 *   partialPrefix digest:32 "-" random:16    hexadecimal digits; see `TreeTarget.partialOf`
 *
 * 1. A run writes only to names of its own. What is left of another run it takes over by renaming it, which is atomic: of
 *    two that want it one gets it, and whoever finds its name gone has lost the file and begins with a new one.
 * 2. The digest covers the contents. So even a run that has not yet seen that it lost its file writes into it, at every
 *    place, the very bytes that belong there; and nobody cuts off what another one may have written.
 *
 * Whether the run that has left a file behind still lives is not known, and need not be. A file that nobody has written to
 * for `staleMs` is rubbish.
 */
import { HoldfastError, temporaryPrefix, toHex } from "../base/index.ts";
import type { FileStat, FileSystem, Random, WritableFile } from "../base/index.ts";
import { joinPath, namePart, parentPath, partialPrefix } from "./tree-path.ts";

export const staleMs = 600_000;
/** A small file is written in one go, and again if its temporary is taken away: what is older than this is rubbish. */
export const smallStaleMs = 2_000;
/** Folders whose leftovers are remembered. */
const folderCountMax = 256;

/** Whether a temporary file of this status is of a run that has died, or stands still for very long. */
export function isStale(place: string, { type, changedNs }: FileStat, nowMs: number): boolean {
  const isTemporary = type === "file" || type === "link";
  const ageMs = isSmall(place) ? smallStaleMs : staleMs;
  return isTemporary && changedNs + BigInt(ageMs) * 1_000_000n < BigInt(Math.floor(nowMs)) * 1_000_000n;
}

/** Whether it is of a small file. */
export function isSmall(place: string): boolean {
  return namePart(place).startsWith(temporaryPrefix);
}

interface Leftover {
  readonly place: string;
  readonly stat: FileStat;
}

export class PartialFiles {
  readonly #fileSystem: FileSystem;
  readonly #random: Pick<Random, "bytes">;
  /** What there was in a folder when a large file first came there. */
  readonly #folders = new Map<string, Promise<Leftover[]>>();

  constructor(fileSystem: FileSystem, random: Pick<Random, "bytes">) {
    this.#fileSystem = fileSystem;
    this.#random = random;
  }

  /** A name that nobody has; `stem` as `TreeTarget.partialOf` gives it. */
  name(stem: string): string {
    return `${stem}-${toHex(this.#random.bytes(8))}`;
  }

  /** A file of this run's own; with `takeOver` with what another run has left of it. `denied` names the folder. */
  async open(stem: string, takeOver: boolean): Promise<{ readonly place: string; readonly file: WritableFile }> {
    const place = this.name(stem);
    const file = await inFolder(place, () => this.#fileSystem.create(place));
    if (!takeOver) return { place, file };
    try {
      const { uid } = await file.stat();
      const left = (await this.#leftIn(parentPath(stem))).filter((one) => isUsable(one, stem, uid));
      for (const one of left.toSorted((a, b) => b.stat.size - a.stat.size)) {
        // The list may be of a moment ago, and have this one.
        if (one.place === place || !(await this.#take(one.place, place))) continue;
        await file.close();
        return { place, file: await this.#fileSystem.create(place) };
      }
      return { place, file };
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** False when somebody else has it by now. */
  async #take(from: string, to: string): Promise<boolean> {
    try {
      await this.#fileSystem.rename(from, to);
      return true;
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code === "cancelled") throw error;
      return false;
    }
  }

  #leftIn(folder: string): Promise<Leftover[]> {
    let left = this.#folders.get(folder);
    if (left === undefined) {
      if (this.#folders.size >= folderCountMax) this.#folders.clear();
      left = this.#list(folder);
      this.#folders.set(folder, left);
    }
    return left;
  }

  /** A folder that one may not list gives nothing to take over. */
  async #list(folder: string): Promise<Leftover[]> {
    const entries = await this.#fileSystem.list(folder === "" ? "." : folder).catch(() => []);
    return entries
      .filter(({ name }) => name.startsWith(partialPrefix))
      .map(({ name, stat }) => ({ place: joinPath(folder, name), stat }));
  }

  /** What was seen there that nobody can want any more. */
  async stale(nowMs: number): Promise<string[]> {
    const all = (await Promise.all(this.#folders.values())).flat();
    return all.filter(({ place, stat }) => isStale(place, stat, nowMs)).map(({ place }) => place);
  }
}

/** Not what another user has put there, who could go on writing to it. */
function isUsable({ place, stat }: Leftover, stem: string, uid: number): boolean {
  return place.startsWith(`${stem}-`) && stat.type === "file" && stat.linkCount === 1 && stat.uid === uid;
}

/** Makes a temporary name; that one may not is told of the folder, since nobody knows the name. */
export async function inFolder<T>(place: string, make: () => Promise<T>): Promise<T> {
  try {
    return await make();
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== "denied") throw error;
    const folder = parentPath(place);
    const message = `cannot make files in ${folder === "" ? "/" : folder}: permission denied`;
    throw new HoldfastError("denied", message, { cause: error });
  }
}
