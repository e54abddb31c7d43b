/** Reads of keys over the network: the contract, and the half of the member that has the replica. */
import { bool, bytes, embed, enumeration, message, optional, repeated, uint32, uint64 } from "../../base/index.ts";
import { contract, implement, serverStream, unary } from "../../rpc/index.ts";
import type { Service } from "../../rpc/index.ts";
import { Freshness, toReadOptions } from "../freshness-message.ts";
import { KeyedRecord, KeySpan, StoredRecord } from "./key-operation.ts";
import type { KeySource, WatchedEvent, WatchQuery } from "./key-source.ts";

const GetRequest = message("holdfast.key.GetRequest", {
  key: bytes(1),
  at: optional(uint64(2)),
  freshness: embed(3, Freshness),
});
const GetResponse = message("holdfast.key.GetResponse", { record: embed(1, StoredRecord) });

const ListRequest = message("holdfast.key.ListRequest", {
  span: embed(1, KeySpan),
  at: optional(uint64(2)),
  limit: optional(uint64(3)),
  reverse: bool(4),
  keysOnly: bool(5),
  freshness: embed(6, Freshness),
});
const ListResponse = message("holdfast.key.ListResponse", {
  revision: uint64(1),
  records: repeated(embed(2, KeyedRecord)),
});

const CountRequest = message("holdfast.key.CountRequest", {
  span: embed(1, KeySpan),
  at: optional(uint64(2)),
  freshness: embed(3, Freshness),
});
const CountResponse = message("holdfast.key.CountResponse", { count: uint64(1) });

const WatchRequest = message("holdfast.key.WatchRequest", {
  span: embed(1, KeySpan),
  from: optional(uint64(2)),
  skip: uint64(3),
  previous: bool(4),
  without: enumeration(5, { nothing: 0, put: 1, delete: 2 }),
  progressMs: optional(uint32(6)),
});
const WatchEvent = message("holdfast.key.WatchEvent", {
  key: bytes(1),
  /** Absent for a deletion. */
  record: embed(2, StoredRecord),
  previous: embed(3, StoredRecord),
});
/** The first message has no events: the watch begins after its revision. */
const WatchResponse = message("holdfast.key.WatchResponse", {
  revision: uint64(1),
  events: repeated(embed(2, WatchEvent)),
  /** More events of this revision follow. */
  more: bool(3),
});

const HistoryRequest = message("holdfast.key.HistoryRequest", { key: bytes(1), freshness: embed(2, Freshness) });
const HistoryResponse = message("holdfast.key.HistoryResponse", { versions: repeated(embed(1, StoredRecord)) });
const RevisionRequest = message("holdfast.key.RevisionRequest", { freshness: embed(1, Freshness) });
const RevisionResponse = message("holdfast.key.RevisionResponse", { revision: uint64(1) });

export const KeyService = contract("holdfast.key.Keys", {
  get: unary(1, GetRequest, GetResponse),
  list: serverStream(2, ListRequest, ListResponse),
  count: unary(3, CountRequest, CountResponse),
  watch: serverStream(4, WatchRequest, WatchResponse),
  history: serverStream(5, HistoryRequest, HistoryResponse),
  revision: unary(6, RevisionRequest, RevisionResponse),
});

const noSpan: KeySpan = { key: new Uint8Array(0), end: undefined };
/** Bytes of keys and values after which a message of a stream is sent. */
const messageSize = 262_144;

export function keyService(source: KeySource): Service {
  return implement(KeyService, {
    async get({ key, at, freshness }, { signal }) {
      return { record: await source.get(key, at, toReadOptions(freshness, signal)) };
    },
    async *list({ span = noSpan, freshness, ...query }, { signal }) {
      for await (const { revision, records } of source.list({ span, ...query }, toReadOptions(freshness, signal))) {
        for (const part of parts(records, ({ key, record }) => key.length + (record?.value.length ?? 0))) {
          yield { revision, records: part };
        }
        if (records.length === 0) yield { revision, records };
      }
    },
    async count({ span = noSpan, at, freshness }, { signal }) {
      return { count: await source.count(span, at, toReadOptions(freshness, signal)) };
    },
    async *watch({ span = noSpan, from, skip, previous, without, progressMs }, { signal }) {
      const first = from === undefined || from === 0 ? (await source.revision({ signal })) + 1 : from;
      yield { revision: first - 1 };
      const query: WatchQuery = {
        span,
        from: first,
        skip,
        previous,
        progressMs,
        without: without === "nothing" ? undefined : without,
      };
      for await (const { revision, events } of source.watch(query, signal)) {
        if (events.length === 0) yield { revision };
        let left = events.length;
        for (const part of parts(events, eventSize)) {
          left -= part.length;
          yield { revision, events: part, more: left > 0 };
        }
      }
    },
    async *history({ key, freshness }, { signal }) {
      const versions = await source.history(key, toReadOptions(freshness, signal));
      for (const part of parts(versions, ({ value }) => value.length)) yield { versions: part };
    },
    async revision({ freshness }, { signal }) {
      return { revision: await source.revision(toReadOptions(freshness, signal)) };
    },
  });
}

function eventSize({ key, record, previous }: WatchedEvent): number {
  return key.length + (record?.value.length ?? 0) + (previous?.value.length ?? 0);
}

/** The items in pieces of about `messageSize` bytes. */
function* parts<T>(items: readonly T[], sizeOf: (item: T) => number): Generator<readonly T[], void, undefined> {
  let begin = 0;
  let size = 0;
  for (let index = 0; index < items.length; index++) {
    size += sizeOf(items[index] as T) + 64;
    if (size < messageSize && index < items.length - 1) continue;
    yield begin === 0 && index === items.length - 1 ? items : items.slice(begin, index + 1);
    begin = index + 1;
    size = 0;
  }
}
