/**
 * What queues are in the tree. A job is in one of four states, and in the index of that state.
 *
 *   22 'q' name 0                  → StoredQueue
 *   22 'm' name 0 id:8             → StoredJob
 *   22 'r' name 0 priority:4 id:8  → nothing: ready, in the order in which jobs are pulled
 *   22 'd' name 0 readyMs:8 id:8   → nothing: delayed, in the order in which they become ready
 *   22 'x' name 0 id:8             → nothing: dead
 *   22 'k' name 0 key              → StoredKey: which job a deduplication key stands for
 *   22 't' name 0 untilMs:8 key    → nothing: until when that is remembered, for keys whose job is done
 *
 * Those that are leased are in no index; their lease knows them (`attachView`). Ids count up from 1 in the order of pushing.
 * A larger priority comes first, so its complement stands in the key.
 */
import {
  bytes,
  enumeration,
  message,
  sint32,
  string,
  uint32,
  uint64,
  uint64Big,
  writeUint64BE,
  readUint64BE,
  utf8Decode,
  utf8Encode,
} from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import { nameKey } from "../value.ts";
import type { KeyRange, State } from "../view.ts";

export const queueViewId = 22;
const letters = { queue: 0x71, job: 0x6d, ready: 0x72, delayed: 0x64, dead: 0x78, key: 0x6b, keyTime: 0x74 } as const;

export const jobStates = { ready: 0, delayed: 1, leased: 2, dead: 3 } as const;
export type JobState = keyof typeof jobStates;

export const QueueSettings = message("holdfast.queue.Settings", {
  /** Pulls after which a job that is not acknowledged is dead. 0: never. */
  attemptCountMax: uint32(1),
  /** How long a job that was rejected waits: this long the first time, then twice as long each time, up to the other. */
  retryMinMs: uint64(2),
  retryMaxMs: uint64(3),
});
export type QueueSettings = Infer<typeof QueueSettings>;
export const settingsDefault: QueueSettings = { attemptCountMax: 16, retryMinMs: 1_000, retryMaxMs: 3_600_000 };

export const StoredQueue = message("holdfast.queue.Queue", {
  /** Of the last change of any of its jobs, or of its settings. */
  revision: uint64(1),
  lastId: uint64(2),
  attemptCountMax: uint32(3),
  retryMinMs: uint64(4),
  retryMaxMs: uint64(5),
  readyCount: uint64(6),
  delayedCount: uint64(7),
  leasedCount: uint64(8),
  deadCount: uint64(9),
});
export type StoredQueue = Infer<typeof StoredQueue>;

export const StoredJob = message("holdfast.queue.Job", {
  value: bytes(1),
  priority: sint32(2),
  state: enumeration(3, jobStates),
  /** When it becomes ready, store time: of a delayed one. */
  readyMs: uint64(4),
  /** How often it was pulled. */
  attempt: uint32(5),
  /** Of whoever has pulled it. */
  lease: uint64Big(6),
  dedupKey: string(7),
  /** Store time. */
  pushedMs: uint64(8),
  /** Why it was rejected last. */
  error: string(9),
});
export type StoredJob = Infer<typeof StoredJob>;

export const StoredKey = message("holdfast.queue.Key", { id: uint64(1), untilMs: uint64(2) });

const nothing = new Uint8Array(0);

export function queueKey(name: string): Uint8Array {
  return nameKey(queueViewId, letters.queue, name);
}

export const allQueues: Required<KeyRange> = {
  start: new Uint8Array([queueViewId, letters.queue]),
  end: new Uint8Array([queueViewId, letters.queue + 1]),
};

export function nameOfQueue(key: Uint8Array): string {
  return utf8Decode(key.subarray(2, -1));
}

function withNumbers(letter: number, name: string, ...numbers: readonly number[]): Uint8Array {
  const whole = nameKey(queueViewId, letter, name, 8 * numbers.length);
  numbers.forEach((number, index) => writeUint64BE(whole, whole.length - 8 * (numbers.length - index), number));
  return whole;
}

export function jobKey(name: string, id: number): Uint8Array {
  return withNumbers(letters.job, name, id);
}

export function idOf(key: Uint8Array): number {
  return readUint64BE(key, key.length - 8);
}

/** Priorities are whole numbers of 32 bits with a sign. */
function readyKey(name: string, priority: number, id: number): Uint8Array {
  const whole = nameKey(queueViewId, letters.ready, name, 12);
  const view = new DataView(whole.buffer);
  view.setUint32(whole.length - 12, 0x7fff_ffff - priority);
  writeUint64BE(whole, whole.length - 8, id);
  return whole;
}

function endOf(letter: number, name: string): Uint8Array {
  const whole = nameKey(queueViewId, letter, name);
  // Behind the 0 that ends the name.
  whole[whole.length - 1] = 1;
  return whole;
}

export function jobsRange(name: string, after: number): Required<KeyRange> {
  return { start: jobKey(name, after + 1), end: endOf(letters.job, name) };
}

export function readyRange(name: string): Required<KeyRange> {
  return { start: nameKey(queueViewId, letters.ready, name), end: endOf(letters.ready, name) };
}

export function delayedRange(name: string): Required<KeyRange> {
  return { start: nameKey(queueViewId, letters.delayed, name), end: endOf(letters.delayed, name) };
}

/** When the job of a key of the delayed ones becomes ready. */
export function readyMsOf(key: Uint8Array): number {
  return readUint64BE(key, key.length - 16);
}

export function deadRange(name: string, after: number): Required<KeyRange> {
  return { start: withNumbers(letters.dead, name, after + 1), end: endOf(letters.dead, name) };
}

export function dedupKeyKey(name: string, key: string): Uint8Array {
  const text = utf8Encode(key);
  const whole = nameKey(queueViewId, letters.key, name, text.length);
  whole.set(text, whole.length - text.length);
  return whole;
}

export function keyTimeKey(name: string, untilMs: number, key: string): Uint8Array {
  const text = utf8Encode(key);
  const whole = nameKey(queueViewId, letters.keyTime, name, 8 + text.length);
  writeUint64BE(whole, whole.length - text.length - 8, untilMs);
  whole.set(text, whole.length - text.length);
  return whole;
}

export function keyTimes(name: string): Required<KeyRange> {
  return { start: nameKey(queueViewId, letters.keyTime, name), end: endOf(letters.keyTime, name) };
}

export function readKeyTime(name: string, whole: Uint8Array): { readonly untilMs: number; readonly key: string } {
  const begin = nameKey(queueViewId, letters.keyTime, name).length;
  return { untilMs: readUint64BE(whole, begin), key: utf8Decode(whole.subarray(begin + 8)) };
}

/** What a lease's attachment calls a job. */
export function jobReference(name: string, id: number): Uint8Array {
  return jobKey(name, id).subarray(2);
}

export function jobOfReference(reference: Uint8Array): { readonly name: string; readonly id: number } {
  return { name: utf8Decode(reference.subarray(0, -9)), id: idOf(reference) };
}

export function readQueue(state: Pick<State, "get">, name: string): StoredQueue | undefined {
  const stored = state.get(queueKey(name));
  return stored === undefined ? undefined : StoredQueue.decode(stored);
}

export function readJob(state: Pick<State, "get">, name: string, id: number): StoredJob | undefined {
  const stored = state.get(jobKey(name, id));
  return stored === undefined ? undefined : StoredJob.decode(stored);
}

export const newQueue: StoredQueue = { ...StoredQueue.decode(nothing), ...settingsDefault };

/** The index entry of a job; none while it is leased. */
export function indexKey(name: string, id: number, { state, priority, readyMs }: StoredJob): Uint8Array | undefined {
  if (state === "ready") return readyKey(name, priority, id);
  if (state === "delayed") return withNumbers(letters.delayed, name, readyMs, id);
  return state === "dead" ? withNumbers(letters.dead, name, id) : undefined;
}
