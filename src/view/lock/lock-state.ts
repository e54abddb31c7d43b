/**
 * What locks are in the tree. Every kind (lock, readers and writers, semaphore, barrier, election, presence, the turn of
 * a stream's group, and that of a cron) has names of its own; of each name there are those who hold and a queue of those who wait.
 *
 *   25 letter name 0              → StoredObject; gone when nobody holds or waits, but for a barrier
 *   25 letter name 0 'h' fence:8  → StoredPlace: who holds
 *   25 letter name 0 'w' fence:8  → StoredPlace: who waits
 *   25 'd'                        → StoredDeletion
 *
 * `letter` says the kind. The fence is the revision of the command that asked for the place: it grows with every one that
 * asks, whatever the name, and the queue is in its order, so that whoever holds after another has the larger fence.
 */
import {
  bytes,
  enumeration,
  limits,
  message,
  uint64,
  uint64Big,
  writeUint64BE,
  readUint64BE,
  utf8Decode,
} from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import { nameKey, nameProblem } from "../value.ts";
import type { KeyRange, State } from "../view.ts";

export const lockViewId = 25;

export type LockKind = "lock" | "readWriteLock" | "semaphore" | "barrier" | "election" | "presence" | "turn" | "cron";
/** On the wire. */
export const lockKinds = {
  lock: 0,
  readWriteLock: 1,
  semaphore: 2,
  barrier: 3,
  election: 4,
  presence: 5,
  turn: 6,
  cron: 7,
} as const;
const letters: Readonly<Record<LockKind, number>> = {
  lock: 0x6c,
  readWriteLock: 0x72,
  semaphore: 0x73,
  barrier: 0x62,
  election: 0x65,
  presence: 0x70,
  turn: 0x74,
  cron: 0x63,
};
const kindsByLetter = new Map(Object.entries(letters).map(([kind, letter]) => [letter, kind as LockKind]));

/** How a place is held: alone, together with others that share, or with so many of the permits. */
export const lockModes = { exclusive: 0, shared: 1, permits: 2 } as const;
export type LockMode = keyof typeof lockModes;

export const StoredPlace = message("holdfast.lock.Place", {
  lease: uint64Big(1),
  mode: enumeration(2, lockModes),
  /** With mode `permits`. */
  permits: uint64(3),
  /** What the holder tells the others: who it is, where it is. */
  value: bytes(4),
});
export type StoredPlace = Infer<typeof StoredPlace>;

export const StoredObject = message("holdfast.lock.Object", {
  /** Of the last change. */
  revision: uint64(1),
  holderCount: uint64(2),
  waiterCount: uint64(3),
  /** Permits that are held, and how many there are: of a semaphore. */
  heldPermits: uint64(4),
  permitCount: uint64(5),
  /** The one holder holds alone. */
  exclusive: uint64(6),
  /** How often a barrier has opened. */
  generation: uint64(7),
});
export type StoredObject = Infer<typeof StoredObject>;

export const StoredDeletion = message("holdfast.lock.Deletion", { revision: uint64(1) });
export const deletionKey = new Uint8Array([lockViewId, 0x64]);

export interface LockName {
  readonly kind: LockKind;
  readonly name: string;
}

/** JSON at most doubles the bytes of a name, and adds two quotes. */
const turnNameSizeMax = 2 * (2 * limits.nameSizeMax + 2) + 1;

/** By which the consumers of a group of a stream take turns: no two groups share it, and no lock of a user's is it. */
export function turnOf(stream: string, group: string): LockName {
  return { kind: "turn", name: `${JSON.stringify(stream)} ${JSON.stringify(group)}` };
}

/** What is wrong with it, for `apply`. */
export function lockNameProblem({ kind, name }: LockName): string | undefined {
  return nameProblem(name, kind === "turn" ? turnNameSizeMax : undefined);
}

/** One who holds, or waits. */
export interface LockPlace extends LockName {
  readonly fence: number;
}

export type PlaceTable = "holder" | "waiter";
const tables: Readonly<Record<PlaceTable, number>> = { holder: 0x68, waiter: 0x77 };

export function objectKey({ kind, name }: LockName): Uint8Array {
  return nameKey(lockViewId, letters[kind], name);
}

export function placeKey({ kind, name }: LockName, table: PlaceTable, fence: number): Uint8Array {
  const whole = nameKey(lockViewId, letters[kind], name, 9);
  whole[whole.length - 9] = tables[table];
  writeUint64BE(whole, whole.length - 8, fence);
  return whole;
}

/** Those behind `after`, in the order of their fences. */
export function placeRange(lock: LockName, table: PlaceTable, after = 0): Required<KeyRange> {
  const end = nameKey(lockViewId, letters[lock.kind], lock.name, 1);
  end[end.length - 1] = tables[table] + 1;
  return { start: placeKey(lock, table, after + 1), end };
}

export function fenceOf(key: Uint8Array): number {
  return readUint64BE(key, key.length - 8);
}

/** What a lease's attachment calls a place. */
export function placeReference({ kind, name }: LockName, fence: number): Uint8Array {
  const whole = nameKey(lockViewId, letters[kind], name, 8);
  writeUint64BE(whole, whole.length - 8, fence);
  return whole.subarray(1);
}

export function placeOfReference(
  reference: Uint8Array,
): { readonly lock: LockName; readonly fence: number } | undefined {
  const kind = kindsByLetter.get(reference[0] ?? 0);
  if (kind === undefined) return undefined;
  return { lock: { kind, name: utf8Decode(reference.subarray(1, -9)) }, fence: fenceOf(reference) };
}

const none: StoredObject = StoredObject.decode(new Uint8Array(0));

export function readObject(state: Pick<State, "get">, lock: LockName): StoredObject {
  const stored = state.get(objectKey(lock));
  return stored === undefined ? none : StoredObject.decode(stored);
}

export function readPlace(
  state: Pick<State, "get">,
  lock: LockName,
  table: PlaceTable,
  fence: number,
): StoredPlace | undefined {
  const stored = state.get(placeKey(lock, table, fence));
  return stored === undefined ? undefined : StoredPlace.decode(stored);
}

/** The topic of a name, and that of one who waits or holds. */
export function lockTopic({ kind, name }: LockName, fence?: number): string {
  return fence === undefined ? `${kind} ${name}` : `${kind} ${name}\u0000${fence}`;
}
