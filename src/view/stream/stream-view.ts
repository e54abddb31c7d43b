/**
 * The `stream` view: the shared log as a user sees it, under names. Values are appended and have dense positions; whoever
 * reads, reads the same in the same order; groups of readers have their place kept.
 *
 * Retention is part of the state: an append forgets what is beyond it, on every replica the same, a bounded number at a
 * time. So a stream whose bounds are made much smaller gets there within the next appends.
 */
import { limits } from "../../base/index.ts";
import { nameProblem } from "../value.ts";
import { Refusal } from "../view.ts";
import type { ApplyContext, AskedView, ReadingContext, View } from "../view.ts";
import { StreamAnswer, StreamOperation, StreamQuery, StreamResult } from "./stream-operation.ts";
import type { NumberedEntry } from "./stream-operation.ts";
import {
  allStreams,
  deletionKey,
  entryKey,
  entryOverhead,
  groupKey,
  groupOf,
  groupsRange,
  nameOfStream,
  positionOf,
  readEntry,
  readGroup,
  readStream,
  StoredDeletion,
  StoredEntry,
  StoredGroup,
  StoredStream,
  streamKey,
  streamViewId,
} from "./stream-state.ts";

type Value<Name extends string> = Extract<NonNullable<StreamOperation["operation"]>, { case: Name }>["value"];
type Changing = { -readonly [Name in keyof StoredStream]: StoredStream[Name] };

/** Entries that one trim forgets, and that an append forgets beside as many as it brings. */
const trimCountMax = 1_000;
const forgetCountMax = 64;
const listCountMax = 1_024;
const none: StoredStream = StoredStream.decode(new Uint8Array(0));

export class StreamView implements AskedView<StreamOperation, StreamResult, StreamQuery, StreamAnswer> {
  readonly name = "stream";
  readonly id = streamViewId;
  readonly operation = StreamOperation;
  readonly result = StreamResult;
  readonly query = StreamQuery;
  readonly answer = StreamAnswer;
  readonly #self = this as unknown as View;

  apply(context: ApplyContext, { operation }: StreamOperation): StreamResult | Refusal {
    if (operation === undefined) return new Refusal("invalid", "the operation is none that this version knows");
    const { name } = operation.value;
    const problem = nameProblem(name);
    if (problem !== undefined) return new Refusal("invalid", `the name of the stream ${problem}`);
    const refused = context.work.operate();
    if (refused !== undefined) return refused;
    const stream: Changing = { ...(readStream(context.state, name) ?? none) };
    switch (operation.case) {
      case "append":
        return this.#append(context, name, stream, operation.value);
      case "trim":
        return this.#trim(context, name, stream, operation.value.before);
      case "configure": {
        const { retention } = operation.value;
        if (retention === undefined) return new Refusal("invalid", "the operation names no retention");
        Object.assign(stream, retention);
        return this.#write(context, name, stream);
      }
      case "commit":
        return this.#commit(context, name, stream, operation.value);
      case "deleteGroup":
        return this.#deleteGroup(context, name, stream, operation.value.group);
      case "delete":
        return this.#delete(context, name, stream);
    }
  }

  #write(context: ApplyContext, name: string, stream: Changing): StreamResult {
    context.state.put(streamKey(name), StoredStream.encode({ ...stream, revision: context.revision }));
    this.#announce(context, name);
    return { position: 0, start: stream.start, tail: stream.tail };
  }

  #announce(context: ApplyContext, name: string): void {
    context.changed();
    context.emit(this.#self, name);
  }

  #append(
    context: ApplyContext,
    name: string,
    stream: Changing,
    { values, expectedTail }: Value<"append">,
  ): StreamResult | Refusal {
    const { state, revision, timeMs } = context;
    if (expectedTail !== undefined && expectedTail !== stream.tail) {
      return new Refusal("conflict", `the tail of the stream ${name} is ${stream.tail}, not ${expectedTail}`);
    }
    const refused = context.work.operate(values.length);
    if (refused !== undefined) return refused;
    const large = values.find((value) => value.length > limits.valueSizeMax + 1);
    if (large !== undefined) {
      const what = `an entry is ${large.length} bytes; the limit is ${limits.valueSizeMax} (limits.valueSizeMax)`;
      return new Refusal("invalid", `${what}: keep large data in files`);
    }
    if (values.length === 0) return { position: stream.tail, start: stream.start, tail: stream.tail };
    const first = stream.tail;
    for (const value of values) {
      state.put(entryKey(name, stream.tail++), StoredEntry.encode({ value, revision, timeMs }));
      stream.size += value.length + entryOverhead;
    }
    const retained = this.#retain(context, name, stream, values.length + forgetCountMax);
    if (retained !== undefined) return retained;
    return { ...this.#write(context, name, stream), position: first };
  }

  /** Forgets the oldest, up to `count`, as long as the stream is beyond a bound; the newest entry always stays. */
  #retain(context: ApplyContext, name: string, stream: Changing, count: number): Refusal | undefined {
    const { countMax, sizeMax, ageMaxMs } = stream;
    if (countMax + sizeMax + ageMaxMs === 0) return undefined;
    for (let left = count; left > 0 && stream.tail - stream.start > 1; left--) {
      const entry = readEntry(context.state, name, stream.start);
      const isTooOld = ageMaxMs > 0 && entry !== undefined && entry.timeMs + ageMaxMs < context.timeMs;
      const isTooMany = countMax > 0 && stream.tail - stream.start > countMax;
      if (!isTooOld && !isTooMany && !(sizeMax > 0 && stream.size > sizeMax)) return undefined;
      const refused = context.work.operate() ?? context.work.load(entry?.value.length ?? 0);
      if (refused !== undefined) return refused;
      this.#forget(context, name, stream, entry);
    }
    return undefined;
  }

  #forget({ state }: ApplyContext, name: string, stream: Changing, entry: StoredEntry | undefined): void {
    state.delete(entryKey(name, stream.start++));
    stream.size -= (entry?.value.length ?? 0) + entryOverhead;
  }

  #trim(context: ApplyContext, name: string, stream: Changing, before: number): StreamResult | Refusal {
    const end = Math.min(before, stream.tail, stream.start + trimCountMax);
    if (end <= stream.start) return { position: 0, start: stream.start, tail: stream.tail };
    const refused = context.work.operate(end - stream.start);
    if (refused !== undefined) return refused;
    while (stream.start < end) {
      const entry = readEntry(context.state, name, stream.start);
      const over = context.work.load(entry?.value.length ?? 0);
      if (over !== undefined) return over;
      this.#forget(context, name, stream, entry);
    }
    return this.#write(context, name, stream);
  }

  #commit(context: ApplyContext, name: string, stream: StoredStream, asked: Value<"commit">): StreamResult | Refusal {
    const { group, position, expected } = asked;
    const problem = nameProblem(group);
    if (problem !== undefined) return new Refusal("invalid", `the name of the group ${problem}`);
    if (position > stream.tail) {
      return new Refusal(
        "invalid",
        `position ${position} is behind the tail of the stream ${name}, which is ${stream.tail}`,
      );
    }
    const before = readGroup(context.state, name, group)?.position ?? 0;
    if (expected !== undefined && before !== expected) {
      return new Refusal("conflict", `the group ${group} of the stream ${name} is at ${before}, not ${expected}`);
    }
    context.state.put(groupKey(name, group), StoredGroup.encode({ position, revision: context.revision }));
    context.changed();
    context.emit(this.#self, groupTopic(name, group));
    return { position, start: stream.start, tail: stream.tail };
  }

  #deleteGroup(context: ApplyContext, name: string, stream: StoredStream, group: string): StreamResult {
    if (context.state.delete(groupKey(name, group)) !== undefined) {
      this.#noteDeletion(context);
      context.changed();
      context.emit(this.#self, groupTopic(name, group));
    }
    return { position: 0, start: stream.start, tail: stream.tail };
  }

  #noteDeletion({ state, revision }: ApplyContext): void {
    state.put(deletionKey, StoredDeletion.encode({ revision }));
  }

  #delete(context: ApplyContext, name: string, stream: StoredStream): StreamResult | Refusal {
    const { state } = context;
    if (stream.tail > stream.start) {
      return new Refusal(
        "conflict",
        `the stream ${name} has ${stream.tail - stream.start} entries; trim it before you delete it`,
      );
    }
    const groups = Array.from(state.entries(groupsRange(name)), ({ key }) => key.slice());
    const refused = context.work.operate(groups.length);
    if (refused !== undefined) return refused;
    for (const key of groups) state.delete(key);
    if (state.delete(streamKey(name)) !== undefined) {
      this.#noteDeletion(context);
      this.#announce(context, name);
    }
    return { position: 0, start: 0, tail: 0 };
  }

  touches({ operation }: StreamOperation, touch: (key: Uint8Array) => void): void {
    if (operation === undefined) return;
    const { name } = operation.value;
    touch(streamKey(name));
    if (operation.case === "commit") touch(groupKey(name, operation.value.group));
  }

  answerTo({ state }: ReadingContext, { query }: StreamQuery): StreamAnswer {
    const answer = { stream: undefined, group: undefined, entries: [], groups: [], streams: [], more: false };
    switch (query?.case) {
      case undefined:
        return answer;
      case "info": {
        const { name, group } = query.value;
        return {
          ...answer,
          stream: readStream(state, name),
          group: group === "" ? undefined : readGroup(state, name, group),
        };
      }
      case "entries": {
        const { name } = query.value;
        const stream = readStream(state, name);
        return { ...answer, stream, ...(stream !== undefined && entriesOf(state, stream, query.value)) };
      }
      case "groups": {
        const { name, after } = query.value;
        const groups: { name: string; group: StoredGroup }[] = [];
        for (const { key, value } of state.entries(groupsRange(name))) {
          const group = groupOf(name, key);
          if (after !== "" && group <= after) continue;
          if (groups.length === listCountMax) return { ...answer, groups, more: true };
          groups.push({ name: group, group: StoredGroup.decode(value) });
        }
        return { ...answer, stream: readStream(state, name), groups };
      }
      case "streams": {
        const { prefix, after } = query.value;
        const streams: { name: string; stream: StoredStream }[] = [];
        for (const { key, value } of state.entries(allStreams)) {
          const name = nameOfStream(key);
          if ((after !== "" && name <= after) || !name.startsWith(prefix)) continue;
          if (streams.length === listCountMax) return { ...answer, streams, more: true };
          streams.push({ name, stream: StoredStream.decode(value) });
        }
        return { ...answer, streams };
      }
    }
  }

  unchanged({ state }: ReadingContext, { query }: StreamQuery, since: number): boolean {
    if (query?.case !== "info" && query?.case !== "entries") return false;
    const { name } = query.value;
    const group = query.case === "info" && query.value.group !== "" ? readGroup(state, name, query.value.group) : none;
    const stream = readStream(state, name);
    if (stream === undefined || group === undefined) {
      const deletion = state.get(deletionKey);
      if (deletion !== undefined && StoredDeletion.decode(deletion).revision > since) return false;
    }
    return (stream?.revision ?? 0) <= since && (group?.revision ?? 0) <= since;
  }
}

/** Told when a group has committed. */
function groupTopic(name: string, group: string): string {
  return `${name}\u0000${group}`;
}

function entriesOf(
  state: ReadingContext["state"],
  { start, tail }: StoredStream,
  {
    name,
    from,
    limit,
    reverse,
  }: { readonly name: string; readonly from: number; readonly limit: number; readonly reverse: boolean },
): Pick<StreamAnswer, "entries" | "more"> {
  const entries: NumberedEntry[] = [];
  const end = reverse ? Math.min(from, tail) : tail;
  if (!reverse && from < start) return { entries, more: true };
  const range = {
    start: entryKey(name, reverse ? start : from),
    end: entryKey(name, Math.max(end, reverse ? start : from)),
  };
  let size = 0;
  for (const { key, value } of state.entries({ ...range, reverse })) {
    if (entries.length >= Math.min(limit, listCountMax) || size > limits.answerSizeMax) return { entries, more: true };
    entries.push({ position: positionOf(key), entry: StoredEntry.decode(value.slice()) });
    size += value.length;
  }
  return { entries, more: false };
}
