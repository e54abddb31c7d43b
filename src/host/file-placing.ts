/**
 * Writes small files whole, each under another name first: `FileSystem.place` and the files that a thread of a
 * `WorkerPipeline` writes. Its calls wait for the system: a file takes a tenth of what it takes with calls that do not, and
 * the event loop that serves others does not run here, or has few files to write.
 *
 * A process that dies meanwhile leaves a file whose name begins with `temporaryPrefix`. Whoever takes one that is still
 * being written for such a one, and removes it, does no harm: it is written again.
 */
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { temporaryPrefix } from "../base/index.ts";
import type { FileAttributes } from "../base/index.ts";
import { systemCode } from "./disk-error.ts";
import { fileError, placeOf, quoted } from "./file-error.ts";
import type { FileTimes } from "./file-times.ts";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = fs.constants;
/** Set-user-id and set-group-id: a file whose owner cannot be set does not get them. */
const specialBits = 0o6000;
const second = 1_000_000_000n;
const attemptCountMax = 3;

export class FilePlacer {
  readonly #times: FileTimes;
  /** Begins the names that this one gives, so that two in one folder never meet. */
  readonly #prefix = `${temporaryPrefix}${randomBytes(8).toString("hex")}-`;
  #count = 0;

  constructor(times: FileTimes) {
    this.#times = times;
  }

  /** As `FileSystem.place`. */
  async place(path: string, bytes: Uint8Array, attributes: FileAttributes): Promise<void> {
    for (let attemptCount = 1; ; attemptCount++) {
      const folder = path.slice(0, path.lastIndexOf("/") + 1);
      const temporary = placeOf(`${folder}${this.#prefix}${this.#count++}`);
      const { modifiedNs } = attributes;
      attempt("create", path, () => write(temporary, path, bytes, attributes));
      try {
        if (modifiedNs !== undefined && modifiedNs % second !== 0n) await this.#setTime(temporary, path, modifiedNs);
        attempt("replace", path, () => fs.renameSync(temporary, placeOf(path)));
        return;
      } catch (error) {
        // Somebody may have taken it for what a process that died has left behind.
        const isGone = !fs.existsSync(temporary);
        remove(temporary);
        if (!isGone || attemptCount >= attemptCountMax) throw error;
      }
    }
  }

  #setTime(temporary: string | Buffer, path: string, modifiedNs: bigint): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#times.set(temporary, modifiedNs, (error) => {
        if (error === null) resolve();
        else reject(fileError(error, "set the times of", path));
      });
    });
  }
}

/** Everything but a time with a fraction of a second, which no call on an open file takes. */
function write(temporary: string | Buffer, path: string, bytes: Uint8Array, attributes: FileAttributes): void {
  const descriptor = fs.openSync(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  let isOpen = true;
  try {
    attempt("write", path, () => {
      for (let at = 0; at < bytes.length;) at += fs.writeSync(descriptor, bytes, at, bytes.length - at, at);
    });
    const { mode, uid, gid, modifiedNs } = attributes;
    let allowed = 0o7777;
    if ((uid ?? gid) !== undefined) {
      attempt("set the owner of", path, () => {
        if (!setOwner(descriptor, uid, gid)) allowed &= ~specialBits;
      });
    }
    // After the owner: the system takes bits of the mode away with a change of the owner.
    if (mode !== undefined) {
      attempt("set the permissions of", path, () => fs.fchmodSync(descriptor, mode & allowed));
    }
    if (modifiedNs !== undefined && modifiedNs % second === 0n) {
      // As text, since Node.js takes a negative number for now.
      const seconds = String(modifiedNs / second);
      attempt("set the times of", path, () => fs.futimesSync(descriptor, seconds, seconds));
    }
    isOpen = false;
    // Some file systems say only now that a write failed.
    attempt("write", path, () => fs.closeSync(descriptor));
  } catch (error) {
    if (isOpen) fs.closeSync(descriptor);
    remove(temporary);
    throw error;
  }
}

/** Whether the owner is now as asked for. */
function setOwner(descriptor: number, uid: number | undefined, gid: number | undefined): boolean {
  if (process.platform === "win32") return true;
  const seen = fs.fstatSync(descriptor);
  if ((uid === undefined || uid === seen.uid) && (gid === undefined || gid === seen.gid)) return true;
  try {
    fs.fchownSync(descriptor, uid ?? seen.uid, gid ?? seen.gid);
    return true;
  } catch (error) {
    // EINVAL: an owner that does not exist where this process lives (user namespaces).
    if (systemCode(error) === "EPERM" || systemCode(error) === "EINVAL") return false;
    throw error;
  }
}

function remove(temporary: string | Buffer): void {
  try {
    fs.unlinkSync(temporary);
  } catch {
    // The failure that counts is the one before.
  }
}

/** Its error names the path as the caller knows it. */
function attempt<T>(action: string, path: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    throw fileError(error, action === "replace" ? `rename to ${quoted(path)}` : action, path);
  }
}
