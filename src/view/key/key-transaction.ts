/** The keys inside an optimistic transaction: reads of one state, with what it has written itself laid over them. */
import { compareBytes, HoldfastError } from "../../base/index.ts";
import type { Revision } from "../../base/index.ts";
import type { Compare, KeyOperation, KeySpan, StoredRecord } from "./key-operation.ts";
import type { KeySource } from "./key-source.ts";
import { checkedKey, checkedValue, checkLimit, leaseId } from "./keys.ts";
import type { ListOptions, PutOptions } from "./keys.ts";
import { copyRecord, KeyRecord, spanOf } from "./record.ts";
import type { Key, KeyChoice, Value } from "./record.ts";

interface Write {
  readonly key: Uint8Array;
  /** Undefined deletes. */
  readonly value: Uint8Array | undefined;
  readonly lease: bigint;
}

export class KeyTransaction {
  readonly #source: KeySource;
  readonly #revision: Revision;
  readonly #signal: AbortSignal | undefined;
  /** By the key's bytes as text. */
  readonly #writes = new Map<string, Write>();
  readonly #reads = new Map<string, { readonly key: Uint8Array; readonly record: StoredRecord | undefined }>();
  readonly #spans: { readonly span: KeySpan; readonly count: number }[] = [];
  #over = false;
  /** Errors of its own reads, as opposed to the caller's, that say that the state has been compacted. */
  readonly #outdated = new Set<unknown>();
  readonly #note = (error: unknown): never => {
    if (error instanceof HoldfastError && error.code === "trimmed") this.#outdated.add(error);
    throw error;
  };

  /** @internal */
  constructor(source: KeySource, revision: Revision, signal: AbortSignal | undefined) {
    this.#source = source;
    this.#revision = revision;
    this.#signal = signal;
  }

  #checkOpen(): void {
    if (this.#over)
      throw new HoldfastError("invalid", "the transaction is over; use its keys inside its function only");
  }

  /** The key as this transaction sees it; undefined if it does not exist. */
  async get(key: Key): Promise<KeyRecord | undefined> {
    this.#checkOpen();
    const bytes = checkedKey(key);
    const name = nameOf(bytes);
    const write = this.#writes.get(name);
    let read = this.#reads.get(name);
    if (read === undefined) {
      const options = { consistency: "local", atLeast: this.#revision, signal: this.#signal } as const;
      const found = await this.#source.get(bytes, this.#revision, options).catch(this.#note);
      read = { key: bytes, record: found === undefined ? undefined : copyRecord(found) };
      this.#reads.set(name, read);
    }
    if (write !== undefined) return this.#written(write, read.record);
    return read.record === undefined ? undefined : new KeyRecord(bytes, copyRecord(read.record));
  }

  /** How a key looks that this transaction has put: as if it were committed at the next revision. */
  #written({ key, value, lease }: Write, before: StoredRecord | undefined): KeyRecord | undefined {
    if (value === undefined) return undefined;
    const revision = this.#revision + 1;
    const createRevision = before?.createRevision ?? revision;
    const version = (before?.version ?? 0) + 1;
    return new KeyRecord(key.slice(), { createRevision, revision, version, lease, value: value.slice(), index: 0 });
  }

  /** The chosen keys in order, as this transaction sees them. It reads all of them before the first, so choose few. */
  async *list(
    options: KeyChoice & Pick<ListOptions, "limit" | "reverse" | "keysOnly"> = {},
  ): AsyncGenerator<KeyRecord> {
    this.#checkOpen();
    checkLimit(options.limit);
    const span = spanOf(options);
    const records: KeyRecord[] = [];
    let count = 0;
    const reading = { consistency: "local", atLeast: this.#revision, signal: this.#signal } as const;
    try {
      for await (const batch of this.#source.list({ span, at: this.#revision }, reading)) {
        for (const { key, record } of batch.records) {
          count++;
          if (record !== undefined && !this.#writes.has(nameOf(key))) {
            records.push(new KeyRecord(key.slice(), copyRecord(record)));
          }
        }
      }
    } catch (error) {
      this.#note(error);
    }
    this.#spans.push({ span, count });
    for (const { key, value } of this.#writes.values()) {
      const record = value === undefined || !contains(span, key) ? undefined : await this.get(key);
      if (record !== undefined) records.push(record);
    }
    const order = options.reverse === true ? -1 : 1;
    const sorted = records.toSorted((a, b) => order * compareBytes(a.keyBytes, b.keyBytes));
    for (const record of sorted.slice(0, options.limit)) {
      yield options.keysOnly === true
        ? new KeyRecord(record.keyBytes, { ...stored(record), value: new Uint8Array(0) })
        : record;
    }
  }

  /** Puts the key when the transaction commits. */
  put(key: Key, value: Value, options: Pick<PutOptions, "lease"> = {}): void {
    this.#checkOpen();
    const bytes = checkedKey(key);
    this.#writes.set(nameOf(bytes), { key: bytes, value: checkedValue(value).slice(), lease: leaseId(options.lease) });
  }

  /** Deletes the key when the transaction commits; that it does not exist is no error. */
  delete(key: Key): void {
    this.#checkOpen();
    const bytes = checkedKey(key);
    this.#writes.set(nameOf(bytes), { key: bytes, value: undefined, lease: 0n });
  }

  /** What was read, as conditions, and what is to be written. @internal */
  finish(): { readonly checks: readonly KeyOperation[]; readonly writes: readonly KeyOperation[] } {
    this.#over = true;
    const compares: Compare[] = Array.from(this.#reads.values(), ({ key, record }) => ({
      span: { key, end: undefined },
      result: "equal",
      target: { case: "revision", value: record?.revision ?? 0 },
    }));
    const spans = this.#spans.map(({ span, count }) => ({ span, count, revision: this.#revision }));
    const check: KeyOperation = { operation: { case: "check", value: { compares, spans } } };
    const writes = Array.from(this.#writes.values(), ({ key, value, lease }): KeyOperation => {
      const span = { key, end: undefined };
      if (value === undefined) return { operation: { case: "delete", value: { span } } };
      return { operation: { case: "put", value: { key, value, lease } } };
    });
    return { checks: compares.length + spans.length === 0 ? [] : [check], writes };
  }

  /** @internal */
  abandon(): void {
    this.#over = true;
  }

  /** Whether an error says that the state it reads is no longer there. @internal */
  outdated(error: unknown): boolean {
    return this.#outdated.has(error);
  }
}

function stored(record: KeyRecord): StoredRecord {
  const { createRevision, revision, version, lease = 0n, bytes } = record;
  return { createRevision, revision, version, lease, value: bytes, index: 0 };
}

function contains({ key: start, end }: KeySpan, key: Uint8Array): boolean {
  if (compareBytes(key, start) < 0) return false;
  if (end === undefined) return compareBytes(key, start) === 0;
  return end.length === 0 || compareBytes(key, end) < 0;
}

/** A key as a map's key: one character a byte. */
function nameOf(key: Uint8Array): string {
  let name = "";
  for (const byte of key) name += String.fromCharCode(byte);
  return name;
}
