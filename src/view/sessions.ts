/**
 * Sessions: how a command takes effect exactly once although its proposer had to try again (Ongaro, "Consensus: Bridging
 * Theory and Practice", 2014, section 6.3).
 *
 * A session is opened by a command in the log; its id is one more than that command's position. It counts its commands,
 * and says with each which answers it has received. Each answer is remembered until then, and a command that comes
 * again gets it, also if it changed nothing or was refused: it must not do later what it did not do at first.
 *
 * Invariants:
 *  1. The table is a function of the log: only applied commands change it, and time is store time.
 *  2. It lives in memory and is written to the tree whenever a root is taken, so that a root holds all of it.
 *
 * Layout in the tree: `1 's' id:8` → `Session`.
 */
import { bytes, embed, limits, message, readUint64BE, repeated, uint64, writeUint64BE } from "../base/index.ts";
import type { Infer } from "../base/index.ts";
import type { CommandHeader } from "./command.ts";

/** The view id of sessions, in commands and in the tree. */
export const sessionViewId = 1;

const StoredAnswer = message("holdfast.view.StoredAnswer", { sequence: uint64(1), outcome: bytes(2) });
const StoredSession = message("holdfast.view.StoredSession", {
  /** Store time of the last command. */
  timeMs: uint64(1),
  acknowledgedBelow: uint64(2),
  answers: repeated(embed(3, StoredAnswer)),
});
type StoredSession = Infer<typeof StoredSession>;

/** What a command can do to sessions. Alone in its command. */
export const SessionOperation = message("holdfast.view.SessionOperation", {
  /** The session to end; 0 opens a new one. */
  close: uint64(1),
});
export const SessionResult = message("holdfast.view.SessionResult", { session: uint64(1) });

interface Session {
  timeMs: number;
  acknowledgedBelow: number;
  readonly answers: Map<number, Uint8Array>;
  answerSize: number;
}

/** What a session says about a command that names it. */
export type Admission =
  | { readonly kind: "new" }
  | { readonly kind: "answered"; readonly outcome: Uint8Array }
  | { readonly kind: "refused"; readonly code: "notFound" | "invalid" | "exhausted"; readonly message: string };

const fresh: Admission = { kind: "new" };

export class Sessions {
  readonly #sessions = new Map<number, Session>();
  /** Sessions that are not in the tree as they are here; ended ones too. */
  readonly #changed = new Set<number>();

  get count(): number {
    return this.#sessions.size;
  }

  open(id: number, timeMs: number): void {
    this.#expire(timeMs);
    this.#sessions.set(id, { timeMs, acknowledgedBelow: 0, answers: new Map(), answerSize: 0 });
    this.#changed.add(id);
  }

  close(id: number): void {
    if (this.#sessions.delete(id)) this.#changed.add(id);
  }

  /** Makes room: sessions idle for too long go, and if the table is full, the one idle for longest. */
  #expire(timeMs: number): void {
    let oldest: number | undefined;
    let oldestMs = Number.POSITIVE_INFINITY;
    for (const [id, session] of this.#sessions) {
      if (session.timeMs + limits.sessionIdleMs < timeMs) this.close(id);
      else if (session.timeMs < oldestMs) {
        oldest = id;
        oldestMs = session.timeMs;
      }
    }
    if (this.#sessions.size >= limits.sessionCountMax && oldest !== undefined) this.close(oldest);
  }

  /** Before a command is applied. Changes nothing, since the command may have to wait for a page first. */
  admit({ session: id, sequence, acknowledgedBelow }: CommandHeader): Admission {
    const session = this.#sessions.get(id);
    if (session === undefined) {
      const idleText = `${limits.sessionIdleMs / 60_000} minutes`;
      return {
        kind: "refused",
        code: "notFound",
        message: `session ${id} is not open; idle ones end after ${idleText}`,
      };
    }
    const wantedFrom = Math.max(acknowledgedBelow, session.acknowledgedBelow);
    if (sequence < wantedFrom) {
      return {
        kind: "refused",
        code: "invalid",
        message: `session ${id} has its answer to command ${sequence} already`,
      };
    }
    const outcome = session.answers.get(sequence);
    if (outcome !== undefined) return { kind: "answered", outcome };
    const { count, size } = unacknowledged(session, wantedFrom);
    if (count >= limits.sessionWindowCountMax || size >= limits.sessionAnswerSizeMax) {
      const held = `${count} answers of ${size} bytes that it has not acknowledged`;
      const most = `the limits are ${limits.sessionWindowCountMax} and ${limits.sessionAnswerSizeMax}`;
      const names = "(limits.sessionWindowCountMax, limits.sessionAnswerSizeMax)";
      return {
        kind: "refused",
        code: "exhausted",
        message: `session ${id} has ${held}; ${most} ${names}: retry later`,
      };
    }
    return fresh;
  }

  /** With every command, whatever became of it: what its header says about its session, if it has one. */
  note({ session: id, acknowledgedBelow }: CommandHeader, timeMs: number): void {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    this.#changed.add(id);
    session.timeMs = timeMs;
    if (acknowledgedBelow <= session.acknowledgedBelow) return;
    session.acknowledgedBelow = acknowledgedBelow;
    for (const [answered, outcome] of session.answers) {
      if (answered >= acknowledgedBelow) continue;
      session.answers.delete(answered);
      session.answerSize -= outcome.length;
    }
  }

  /** After a command was applied or refused. At most `limits.sessionAnswerSizeMax` bytes. */
  remember(id: number, sequence: number, outcome: Uint8Array): void {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    // A copy, since the encoder's slab would stay in memory with it.
    session.answers.set(sequence, outcome.slice());
    session.answerSize += outcome.length;
  }

  /** Hands over what the tree lacks: each session's key and value, or key and undefined for one that ended. */
  drain(put: (key: Uint8Array, value: Uint8Array | undefined) => void): void {
    for (const id of [...this.#changed].toSorted((a, b) => a - b)) {
      const session = this.#sessions.get(id);
      put(sessionKey(id), session === undefined ? undefined : StoredSession.encode(toStored(session)));
      this.#changed.delete(id);
    }
  }

  /** Takes over an entry of the tree, at the start. */
  load(key: Uint8Array, value: Uint8Array): void {
    const { timeMs, acknowledgedBelow, answers } = StoredSession.decode(value);
    const kept = new Map(answers.map(({ sequence, outcome }) => [sequence, outcome.slice()] as const));
    const answerSize = answers.reduce((sum, { outcome }) => sum + outcome.length, 0);
    this.#sessions.set(readUint64BE(key, 2), { timeMs, acknowledgedBelow, answers: kept, answerSize });
  }
}

/** How many answers, and of what size, are left of a session once those below `from` are acknowledged. */
function unacknowledged(session: Session, from: number): { readonly count: number; readonly size: number } {
  let { size: count } = session.answers;
  let { answerSize: size } = session;
  if (from === session.acknowledgedBelow) return { count, size };
  for (const [answered, outcome] of session.answers) {
    if (answered >= from) continue;
    count--;
    size -= outcome.length;
  }
  return { count, size };
}

function toStored({ timeMs, acknowledgedBelow, answers }: Session): StoredSession {
  const ordered = [...answers].toSorted(([a], [b]) => a - b);
  return { timeMs, acknowledgedBelow, answers: ordered.map(([sequence, outcome]) => ({ sequence, outcome })) };
}

const letter = "s".charCodeAt(0);

function sessionKey(id: number): Uint8Array {
  const key = new Uint8Array(10);
  key[0] = sessionViewId;
  key[1] = letter;
  writeUint64BE(key, 2, id);
  return key;
}

/** All sessions in the tree. */
export const sessionRange = {
  start: new Uint8Array([sessionViewId, letter]),
  end: new Uint8Array([sessionViewId, letter + 1]),
};
