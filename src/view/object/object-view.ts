/**
 * The `object` view: for each object of a user's own type the commands that were given to it, in order, and the newest
 * snapshot of its state. It orders and keeps them; it does not run them: whoever opens an object plays its commands on a
 * copy of his own (`player.ts`). So members need not know the code of an object. After Balakrishnan et al., "Tango:
 * Distributed Data Structures over a Shared Log" (SOSP 2013).
 *
 *   26 'o' type 0 key 0          → StoredObject
 *   26 'r' id(8) sequence(8)     → ObjectRecord, a command
 *   26 's' id(8) part(4)         → a part of the snapshot's JSON text
 *   26 'g' id(8)                 → StoredGarbage, records of a deleted object that are still to be removed
 *   26 't'                       → StoredTotals
 *
 *  1. Sequence numbers are dense: the commands of an object are 0 to `next` - 1, and those from `oldest` on are here.
 *  2. A snapshot at sequence s is the state behind the commands 0 to s - 1; `oldest` ≤ s ≤ `next`.
 *  3. All commands from the snapshot on were written by code of the object's `version`: a later version begins with a
 *     snapshot of the migrated state at `next`, and earlier ones are refused from then on.
 *  4. Ids are never used again.
 *  5. One operation removes a bounded number of old records.
 */
import {
  bool,
  bytes,
  embed,
  limits,
  message,
  oneOf,
  optional,
  readUint64BE,
  repeated,
  string,
  uint32,
  uint64,
  utf8Decode,
  utf8Encode,
  writeUint32BE,
  writeUint64BE,
} from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import { nameProblem } from "../value.ts";
import { Refusal } from "../view.ts";
import type { ApplyContext, AskedView, ReadingContext, State, View } from "../view.ts";

const objectViewId = 26;
const [objectLetter, recordLetter, partLetter, garbageLetter] = [0x6f, 0x72, 0x73, 0x67];
const totalsKey = new Uint8Array([objectViewId, 0x74]);
const garbageRange = {
  start: new Uint8Array([objectViewId, garbageLetter]),
  end: new Uint8Array([objectViewId, garbageLetter + 1]),
};

const StoredObject = message("holdfast.object.Object", {
  id: uint64(1),
  version: uint32(2),
  next: uint64(3),
  oldest: uint64(4),
  snapshotSequence: uint64(5),
  /** 0 where there is no snapshot yet: the state begins as the code says. */
  snapshotPartCount: uint32(6),
  /** Of the last command or migration: what changed its state. */
  revision: uint64(7),
});
type StoredObject = Infer<typeof StoredObject>;
/** `first` to `next` - 1 are still there. */
const StoredGarbage = message("holdfast.object.Garbage", { first: uint64(1), next: uint64(2) });
const StoredTotals = message("holdfast.object.Totals", { lastId: uint64(1), lastDeletionRevision: uint64(2) });

/** A command as it was given. `body` is a JSON array of its arguments; `seed` is what its random numbers begin with. */
export const ObjectRecord = message("holdfast.object.Record", {
  command: string(1),
  body: bytes(2),
  seed: uint32(3),
  timeMs: uint64(4),
  revision: uint64(5),
});
export type ObjectRecord = Infer<typeof ObjectRecord>;

const Name = message("holdfast.object.Name", { type: string(1), key: string(2) });
export type ObjectName = Infer<typeof Name>;
/** `conflict` unless it is the command `expected`, or when the object has an earlier version, which is to be migrated first. */
const Append = message("holdfast.object.Append", {
  name: embed(1, Name),
  version: uint32(2),
  command: string(3),
  body: bytes(4),
  seed: uint32(5),
  /** The time that the command is given; absent: store time. */
  timeMs: optional(uint64(6)),
  expected: optional(uint64(7)),
});
/** `conflict` where it is of no use any more. `version` is later than the object's in a migration, which stands at `next`. */
const Snapshot = message("holdfast.object.Snapshot", {
  name: embed(1, Name),
  id: uint64(2),
  sequence: uint64(3),
  version: uint32(4),
  parts: repeated(bytes(5)),
});
const Delete = message("holdfast.object.Delete", { name: embed(1, Name) });

export const ObjectOperation = message("holdfast.object.Operation", {
  operation: oneOf({ append: embed(1, Append), snapshot: embed(2, Snapshot), delete: embed(3, Delete) }),
});
export type ObjectOperation = Infer<typeof ObjectOperation>;
export const ObjectResult = message("holdfast.object.Result", { sequence: uint64(1), id: uint64(2) });
export type ObjectResult = Infer<typeof ObjectResult>;

/**
 * What has come since: for one who has the state of object `id`, by code of `version`, behind the commands before `from`.
 * `id` is 0 for one who has met no such object yet; `version` is 0 for one who has no state.
 */
const Read = message("holdfast.object.Read", {
  name: embed(1, Name),
  id: uint64(2),
  version: uint32(3),
  from: uint64(4),
});
const Part = message("holdfast.object.Part", {
  id: uint64(1),
  sequence: uint64(2),
  part: uint32(3),
  name: embed(4, Name),
});
const List = message("holdfast.object.List", { type: string(1), prefix: string(2), after: string(3) });
export const ObjectQuery = message("holdfast.object.Query", {
  query: oneOf({ read: embed(1, Read), part: embed(2, Part), list: embed(3, List) }),
});
export type ObjectQuery = Infer<typeof ObjectQuery>;
export const ObjectAnswer = message("holdfast.object.Answer", {
  /** Absent: there is no such object. */
  object: optional(embed(1, StoredObject)),
  /** The sequence number of the first record: what was asked for, or the snapshot's, which is to be read then. */
  from: uint64(2),
  records: repeated(embed(3, ObjectRecord)),
  /** Absent: another snapshot has taken its place. */
  part: optional(bytes(4)),
  keys: repeated(string(5)),
  more: bool(6),
});
export type ObjectAnswer = Infer<typeof ObjectAnswer>;

/** Records and keys of one answer. */
const answerCountMax = 1_024;
/** Old records that one operation removes (5). */
const trimCount = 16;
/** Records behind a snapshot that stay, for those who are about to play them: they need not begin with the snapshot. */
const keptCount = 512;
/** A part of a snapshot. */
export const partSizeMax = 1_048_576;

export class ObjectView implements AskedView<ObjectOperation, ObjectResult, ObjectQuery, ObjectAnswer> {
  readonly name = "object";
  readonly id = objectViewId;
  readonly operation = ObjectOperation;
  readonly result = ObjectResult;
  readonly query = ObjectQuery;
  readonly answer = ObjectAnswer;
  readonly #self = this as unknown as View;

  apply(context: ApplyContext, { operation }: ObjectOperation): ObjectResult | Refusal {
    if (operation === undefined) return new Refusal("invalid", "the operation is none that this version knows");
    const { name } = operation.value;
    const problem = problemOf(name);
    if (name === undefined || problem !== undefined) return new Refusal("invalid", problem ?? "it has no name");
    const refused = context.work.operate();
    if (refused !== undefined) return refused;
    sweep(context.state);
    switch (operation.case) {
      case "append":
        return this.#append(context, name, operation.value);
      case "snapshot":
        return this.#snapshot(context, name, operation.value);
      case "delete":
        return this.#delete(context, name);
    }
  }

  #append(context: ApplyContext, name: ObjectName, append: Infer<typeof Append>): ObjectResult | Refusal {
    const { version, command, body, seed, timeMs = context.timeMs, expected } = append;
    const problem = nameProblem(command);
    if (problem !== undefined) return new Refusal("invalid", `the name of a command of ${said(name)} ${problem}`);
    if (body.length > limits.valueSizeMax) return new Refusal("invalid", bodyProblem(name, command, body.length));
    const object = readObject(context.state, name) ?? created(context, version);
    const refusal = versionRefusal(name, object, version);
    if (refusal !== undefined) return refusal;
    const { id, next } = object;
    if (expected !== undefined && expected !== next) {
      return new Refusal("conflict", `${said(name)} has had ${next} commands, not ${expected}`);
    }
    const record = { command, body, seed, timeMs, revision: context.revision };
    context.state.put(recordKey(id, next), ObjectRecord.encode(record));
    writeObject(context.state, name, trimmed(context.state, { ...object, next: next + 1, revision: context.revision }));
    this.#announce(context, name);
    return { sequence: next, id };
  }

  #snapshot(context: ApplyContext, name: ObjectName, snapshot: Infer<typeof Snapshot>): ObjectResult | Refusal {
    const { state } = context;
    const { id, sequence, version, parts } = snapshot;
    const object = readObject(state, name);
    if (object?.id !== id) return new Refusal("conflict", `${said(name)} is gone, or another one has its name`);
    const size = parts.reduce((sum, part) => sum + part.length, 0);
    if (size === 0 || size > limits.objectSizeMax || parts.some(({ length }) => length === 0 || length > partSizeMax))
      return new Refusal("invalid", snapshotProblem(name, size));
    const migrates = version > object.version;
    if (version < object.version) return tooOld(name, object.version, version);
    const place = migrates ? sequence === object.next : sequence > object.snapshotSequence && sequence <= object.next;
    if (!place) return new Refusal("conflict", `a snapshot of ${said(name)} at command ${sequence} comes too late`);
    for (let part = parts.length; part < object.snapshotPartCount; part++) state.delete(partKey(id, part));
    for (const [part, body] of parts.entries()) state.put(partKey(id, part), body);
    const changed: StoredObject = {
      ...object,
      version,
      snapshotSequence: sequence,
      snapshotPartCount: parts.length,
      revision: migrates ? context.revision : object.revision,
    };
    writeObject(state, name, trimmed(state, changed));
    // Without a migration nobody sees a difference.
    if (migrates) this.#announce(context, name);
    return { sequence, id };
  }

  #delete(context: ApplyContext, name: ObjectName): ObjectResult {
    const { state, revision } = context;
    const object = readObject(state, name);
    if (object === undefined) return { sequence: 0, id: 0 };
    const { id, oldest: first, next } = object;
    for (let part = 0; part < object.snapshotPartCount; part++) state.delete(partKey(id, part));
    if (first < next) state.put(garbageKey(id), StoredGarbage.encode({ first, next }));
    state.delete(objectKey(name));
    state.put(totalsKey, StoredTotals.encode({ ...readTotals(state), lastDeletionRevision: revision }));
    this.#announce(context, name);
    return { sequence: next, id };
  }

  #announce(context: ApplyContext, name: ObjectName): void {
    context.changed();
    context.emit(this.#self, topicOf(name));
  }

  touches({ operation }: ObjectOperation, touch: (key: Uint8Array) => void): void {
    if (operation?.value.name !== undefined) touch(objectKey(operation.value.name));
  }

  answerTo({ state }: ReadingContext, { query }: ObjectQuery): ObjectAnswer {
    const none = { object: undefined, from: 0, records: [], part: undefined, keys: [], more: false };
    switch (query?.case) {
      case "read":
        return { ...none, ...answerRead(state, query.value) };
      case "part": {
        const { id, sequence, part, name } = query.value;
        const object = name === undefined ? undefined : readObject(state, name);
        if (object?.id !== id || object.snapshotSequence !== sequence) return none;
        return { ...none, part: state.get(partKey(id, part)) };
      }
      case "list":
        return { ...none, ...answerList(state, query.value) };
      default:
        return none;
    }
  }

  /** A snapshot that takes the place of another one changes no state, so it does not count. */
  unchanged({ state }: ReadingContext, { query }: ObjectQuery, since: number): boolean {
    if (query === undefined || query.case === "list" || query.value.name === undefined) return false;
    const object = readObject(state, query.value.name);
    if (object === undefined) return readTotals(state).lastDeletionRevision <= since;
    if (query.case === "part") return object.id === query.value.id && object.snapshotSequence === query.value.sequence;
    return object.revision <= since;
  }
}

/** `name` as messages say it. */
export function said({ type, key }: ObjectName): string {
  return `object ${type}/${key}`;
}

/** Names have no control characters, so that the two cannot run into each other. */
export function topicOf({ type, key }: ObjectName): string {
  return `${type}\n${key}`;
}

export function bodyProblem(name: ObjectName, command: string, size: number): string {
  const limit = `the limit is ${limits.valueSizeMax} (limits.valueSizeMax)`;
  return `the arguments of ${command} of ${said(name)} are ${size} bytes; ${limit}: keep large data in files`;
}

export function snapshotProblem(name: ObjectName, size: number): string {
  const limit = `the limit is ${limits.objectSizeMax} (limits.objectSizeMax)`;
  return `the state of ${said(name)} is ${size} bytes of JSON; ${limit}: split it into several objects`;
}

function problemOf(name: ObjectName | undefined): string | undefined {
  if (name === undefined) return "the operation names no object";
  const [ofType, ofKey] = [nameProblem(name.type), nameProblem(name.key)];
  if (ofType !== undefined) return `the name of an object's type ${ofType}`;
  return ofKey === undefined ? undefined : `the key of an object of type ${name.type} ${ofKey}`;
}

function versionRefusal(name: ObjectName, object: StoredObject, version: number): Refusal | undefined {
  if (version < 1) return new Refusal("invalid", `version ${version} of ${said(name)} is none; versions begin with 1`);
  if (version < object.version) return tooOld(name, object.version, version);
  if (version === object.version) return undefined;
  return new Refusal(
    "conflict",
    `${said(name)} has version ${object.version}: it is to be migrated to ${version} first`,
  );
}

function tooOld(name: ObjectName, version: number, own: number): Refusal {
  return new Refusal("unavailable", tooOldText(name, version, own), { final: true });
}

export function tooOldText(name: ObjectName, version: number, own: number): string {
  return `${said(name)} has records of version ${version}; this program has ${own}: update it`;
}

function created({ state }: ApplyContext, version: number): StoredObject {
  const totals = readTotals(state);
  const id = totals.lastId + 1;
  state.put(totalsKey, StoredTotals.encode({ ...totals, lastId: id }));
  return { id, version, next: 0, oldest: 0, snapshotSequence: 0, snapshotPartCount: 0, revision: 0 };
}

/** Removes some of the records behind the snapshot. */
function trimmed(state: State, object: StoredObject): StoredObject {
  const end = Math.min(object.snapshotSequence - keptCount, object.oldest + trimCount);
  if (end <= object.oldest) return object;
  removeRecords(state, object.id, object.oldest, end);
  return { ...object, oldest: end };
}

/** Removes some of the records of an object that was deleted. */
function sweep(state: State): void {
  for (const { key, value } of state.entries(garbageRange)) {
    const id = idOf(key);
    const { first, next } = StoredGarbage.decode(value);
    const end = Math.min(next, first + trimCount);
    removeRecords(state, id, first, end);
    if (end === next) state.delete(garbageKey(id));
    else state.put(garbageKey(id), StoredGarbage.encode({ first: end, next }));
    return;
  }
}

function removeRecords(state: State, id: number, first: number, end: number): void {
  const keys: Uint8Array[] = [];
  for (let sequence = first; sequence < end; sequence++) keys.push(recordKey(id, sequence));
  state.require(keys);
  for (const key of keys) state.delete(key);
}

function answerRead(
  state: ReadingContext["state"],
  { name, id, version, from }: Infer<typeof Read>,
): Partial<ObjectAnswer> {
  const object = name === undefined ? undefined : readObject(state, name);
  if (object === undefined) return {};
  const same = id === object.id || (id === 0 && from === 0);
  const follows = same && version === object.version && from >= object.oldest && from <= object.next;
  const first = follows ? from : object.snapshotSequence;
  const records: ObjectRecord[] = [];
  let size = 0;
  const range = { start: recordKey(object.id, first), end: recordKey(object.id, object.next) };
  for (const { value } of state.entries(range)) {
    if (records.length > 0 && (size + value.length > limits.answerSizeMax || records.length === answerCountMax))
      return { object, from: first, records, more: true };
    size += value.length;
    records.push(ObjectRecord.decode(value));
  }
  return { object, from: first, records };
}

function answerList(
  state: ReadingContext["state"],
  { type, prefix, after }: Infer<typeof List>,
): Partial<ObjectAnswer> {
  const keys: string[] = [];
  // Behind a key and its 0 comes the next.
  const start = objectKey({ type, key: after === "" ? prefix : `${after}\u0001` }).subarray(0, -1);
  for (const { key: whole } of state.entries({ start, end: typeEnd(type) })) {
    const key = utf8Decode(whole.subarray(3 + utf8Encode(type).length, -1));
    if (!key.startsWith(prefix)) break;
    if (keys.length === answerCountMax) return { keys, more: true };
    keys.push(key);
  }
  return { keys };
}

function readObject(state: Pick<State, "get">, name: ObjectName): StoredObject | undefined {
  const stored = state.get(objectKey(name));
  return stored === undefined ? undefined : StoredObject.decode(stored);
}

function writeObject(state: State, name: ObjectName, object: StoredObject): void {
  state.put(objectKey(name), StoredObject.encode(object));
}

function readTotals(state: Pick<State, "get">): Infer<typeof StoredTotals> {
  const stored = state.get(totalsKey);
  return stored === undefined ? { lastId: 0, lastDeletionRevision: 0 } : StoredTotals.decode(stored);
}

function objectKey({ type, key }: ObjectName): Uint8Array {
  const text = utf8Encode(`${type}\u0000${key}\u0000`);
  const whole = new Uint8Array(2 + text.length);
  whole.set([objectViewId, objectLetter]);
  whole.set(text, 2);
  return whole;
}

/** Behind the last key of the type: its name is followed by 0. */
function typeEnd(type: string): Uint8Array {
  const end = objectKey({ type, key: "" }).subarray(0, -1);
  end[end.length - 1] = 1;
  return end;
}

function recordKey(id: number, sequence: number): Uint8Array {
  const key = numberedKey(recordLetter, id, 8);
  writeUint64BE(key, 10, sequence);
  return key;
}

function partKey(id: number, part: number): Uint8Array {
  const key = numberedKey(partLetter, id, 4);
  writeUint32BE(key, 10, part);
  return key;
}

function garbageKey(id: number): Uint8Array {
  return numberedKey(garbageLetter, id, 0);
}

function numberedKey(letter: number, id: number, tailSize: number): Uint8Array {
  const key = new Uint8Array(10 + tailSize);
  key[0] = objectViewId;
  key[1] = letter;
  writeUint64BE(key, 2, id);
  return key;
}

function idOf(key: Uint8Array): number {
  return readUint64BE(key, 2);
}
