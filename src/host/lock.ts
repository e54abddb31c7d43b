/**
 * The lock on a data directory: an operating-system lock on the file `LOCK` inside it, taken through SQLite, which is
 * built into Node.js and does what Node.js itself cannot (`docs/doors.md`, the disk).
 *
 * 1. One holder at a time, across processes and within one. The system ends the lock with the process, however that
 *    ends: nothing is left to clean up, and no process identifier is ever trusted.
 * 2. While the lock is held, no other code of this process may open and close `LOCK`: POSIX ends a process's locks on a
 *    file when the process closes any descriptor of it. `NodeDisk` refuses that name.
 * 3. `LOCK` stays empty: SQLite begins a transaction and never writes. Its journal, which would be a file beside it,
 *    is kept in memory.
 *
 * `LOCK.holder` says who holds the lock, for the message to the one who comes second; it decides nothing.
 */
import { access, constants, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import type * as sqlite from "node:sqlite";
import { HoldfastError } from "../base/index.ts";
import type { DiskLock } from "../base/index.ts";
import { diskError } from "./disk-error.ts";

const lockName = "LOCK";
const holderName = "LOCK.holder";

/** SQLite's own number for "somebody else has the lock" (SQLITE_BUSY). */
const sqliteBusy = 5;

/** Whether a name in the root belongs to the lock. SQLite might, on an unforeseen path, place its own files beside it. */
export function isLockFile(name: string): boolean {
  return name === lockName || name.startsWith(`${lockName}.`) || name.startsWith(`${lockName}-`);
}

/** Takes the lock on an existing directory, or fails at once: `conflict` when it is held, `denied` when read-only. */
export async function lockDirectory(directory: string): Promise<DiskLock> {
  try {
    await promisify(access)(directory, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw diskError(error, "use the data directory", directory);
  }
  const database = openLocked(directory);
  try {
    writeFileSync(join(directory, holderName), `${process.pid} ${commandLine()}\n`);
  } catch (error) {
    database.close();
    throw diskError(error, "write", join(directory, holderName));
  }
  return new NodeDiskLock(directory, database);
}

class NodeDiskLock implements DiskLock {
  readonly #directory: string;
  #database: sqlite.DatabaseSync | undefined;

  constructor(directory: string, database: sqlite.DatabaseSync) {
    this.#directory = directory;
    this.#database = database;
  }

  release(): Promise<void> {
    const database = this.#database;
    this.#database = undefined;
    if (database !== undefined) {
      // The note goes first: after the lock has ended it may be the next holder's.
      rmSync(join(this.#directory, holderName), { force: true });
      database.close();
    }
    return Promise.resolve();
  }
}

function openLocked(directory: string): sqlite.DatabaseSync {
  const path = join(directory, lockName);
  const { DatabaseSync } = loadSqlite();
  let database: sqlite.DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path);
    database.exec("PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
    return database;
  } catch (error) {
    database?.close();
    if (sqliteNumber(error) === sqliteBusy) {
      throw new HoldfastError(
        "conflict",
        `data directory ${directory} is in use by ${holderOf(directory)}; stop it, or use --endpoint to talk to it`,
        { cause: error },
      );
    }
    const reason = error instanceof Error ? error.message : String(error);
    throw new HoldfastError("unavailable", `cannot lock ${path}: ${reason}; it must be an empty file on a local disk`, {
      cause: error,
    });
  }
}

/** The primary part of SQLite's result code, if this is an error of SQLite. */
function sqliteNumber(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("errcode" in error) || typeof error.errcode !== "number") return undefined;
  return error.errcode & 0xff;
}

function holderOf(directory: string): string {
  try {
    const [, id, command] = /^(\d+) (.*)$/m.exec(readFileSync(join(directory, holderName), "utf8")) ?? [];
    if (id !== undefined) return Number(id) === process.pid ? "this process itself" : `process ${id} (${command})`;
  } catch {
    // The note is gone or unreadable; the message does without it.
  }
  return "another process";
}

/** What a person would recognize this process by. */
function commandLine(): string {
  const [program = "node", script, ...rest] = process.argv;
  const words = script === undefined ? [basename(program)] : [basename(script), ...rest];
  return words.join(" ").replaceAll(/\s+/g, " ").slice(0, 200);
}

/** Loads SQLite without its notice of being experimental: it would tell a user about something that is not theirs. */
function loadSqlite(): typeof sqlite {
  // Put back as it was found, and only called with its own `this`.
  // oxlint-disable-next-line typescript/unbound-method
  const emitWarning = process.emitWarning;
  process.emitWarning = (warning: string | Error, ...rest: unknown[]) => {
    const [type] = rest;
    if (type === "ExperimentalWarning" && String(warning).startsWith("SQLite")) return;
    Reflect.apply(emitWarning, process, [warning, ...rest]);
  };
  try {
    return process.getBuiltinModule("node:sqlite");
  } finally {
    process.emitWarning = emitWarning;
  }
}
