/**
 * The operations of the key view and their results, as messages. The data model is that of etcd v3: see
 * https://etcd.io/docs/v3.5/learning/data_model/.
 */
import {
  bool,
  bytes,
  embed,
  enumeration,
  message,
  oneOf,
  optional,
  repeated,
  uint32,
  uint64,
  uint64Big,
} from "../../base/index.ts";
import type { Infer, Init, Message } from "../../base/index.ts";

/** Keys from `key` on; without `end`, that key alone; with an empty `end`, to the last key. */
export const KeySpan = message("holdfast.key.Span", { key: bytes(1), end: optional(bytes(2)) });
export type KeySpan = Infer<typeof KeySpan>;

/** One version of a key, without the key. */
export const StoredRecord = message("holdfast.key.Record", {
  createRevision: uint64(1),
  /** The revision that wrote it. */
  revision: uint64(2),
  /** Counts the puts since the key was created, from 1; 0 marks a deletion. */
  version: uint64(3),
  /** 0: none. */
  lease: uint64Big(4),
  value: bytes(5),
  /** Which event of that revision it was. */
  index: uint32(6),
});
export type StoredRecord = Infer<typeof StoredRecord>;

/** A version with its key. */
export const KeyedRecord = message("holdfast.key.KeyedRecord", { key: bytes(1), record: embed(2, StoredRecord) });
export type KeyedRecord = Infer<typeof KeyedRecord>;

const Put = message("holdfast.key.Put", {
  key: bytes(1),
  value: bytes(2),
  lease: uint64Big(3),
  /** Answer what the key was before. */
  previous: bool(4),
  /** Keep the value, or the lease, that the key has; refused with `notFound` when there is no such key. */
  keepValue: bool(5),
  keepLease: bool(6),
});

const PutResult = message("holdfast.key.PutResult", { previous: embed(1, StoredRecord) });

const Delete = message("holdfast.key.Delete", { span: embed(1, KeySpan), previous: bool(2) });

const DeleteResult = message("holdfast.key.DeleteResult", {
  count: uint64(1),
  previous: repeated(embed(2, KeyedRecord)),
});

/** Reads inside a command: what the operations before it have left. */
const Range = message("holdfast.key.Range", {
  span: embed(1, KeySpan),
  /** 0: all, which must be few. */
  limit: uint64(2),
  reverse: bool(3),
  keysOnly: bool(4),
  countOnly: bool(5),
});

const RangeResult = message("holdfast.key.RangeResult", {
  records: repeated(embed(1, KeyedRecord)),
  /** Keys in the span, whatever the limit. */
  count: uint64(2),
  more: bool(3),
});

/**
 * A condition on every key of the span; on a span with an end that holds no key it is true. For a single key that does
 * not exist the numbers are 0 and no comparison of values holds.
 */
export const Compare = message("holdfast.key.Compare", {
  span: embed(1, KeySpan),
  result: enumeration(2, { equal: 0, notEqual: 1, greater: 2, less: 3 }),
  target: oneOf({
    version: uint64(3),
    createRevision: uint64(4),
    revision: uint64(5),
    lease: uint64Big(6),
    value: bytes(7),
  }),
});
export type Compare = Infer<typeof Compare>;

/** A span that must be as it was read: so many keys, none of them changed after `revision`. */
const SpanGuard = message("holdfast.key.SpanGuard", {
  span: embed(1, KeySpan),
  count: uint64(2),
  revision: uint64(3),
});
/** Refuses the whole command with `conflict` unless all conditions hold. */
const Check = message("holdfast.key.Check", {
  compares: repeated(embed(1, Compare)),
  spans: repeated(embed(2, SpanGuard)),
});

/** Forgets the versions that were superseded at `revision` or before. The state at `revision` stays readable. */
const Compact = message("holdfast.key.Compact", { revision: uint64(1) });
/** Removes what compactions have left behind, for at most so many events. Proposed by members in the background. */
const Sweep = message("holdfast.key.Sweep", { limit: uint32(1) });
const SweepResult = message("holdfast.key.SweepResult", { swept: uint64(1) });
const Empty = message("holdfast.key.Empty", {});

/** If all comparisons hold, `then` is done, else `otherwise`; both may hold transactions in turn. */
export interface Transaction {
  readonly compares: readonly Compare[];
  readonly then: readonly KeyOperation[];
  readonly otherwise: readonly KeyOperation[];
}

/** What each operation answers stands in `KeyResult` under the same name. */
export interface KeyOperation {
  readonly operation:
    | { readonly case: "put"; readonly value: Init<typeof Put> }
    | { readonly case: "delete"; readonly value: Init<typeof Delete> }
    | { readonly case: "range"; readonly value: Init<typeof Range> }
    | { readonly case: "transaction"; readonly value: Transaction }
    | { readonly case: "check"; readonly value: Init<typeof Check> }
    | { readonly case: "compact"; readonly value: Init<typeof Compact> }
    | { readonly case: "sweep"; readonly value: Init<typeof Sweep> }
    | undefined;
}

interface TransactionResult {
  readonly succeeded: boolean;
  readonly results: readonly KeyResult[];
}

export interface KeyResult {
  readonly result:
    | { readonly case: "put"; readonly value: Infer<typeof PutResult> }
    | { readonly case: "delete"; readonly value: Infer<typeof DeleteResult> }
    | { readonly case: "range"; readonly value: Infer<typeof RangeResult> }
    | { readonly case: "transaction"; readonly value: TransactionResult }
    | { readonly case: "check"; readonly value: object }
    | { readonly case: "compact"; readonly value: object }
    | { readonly case: "sweep"; readonly value: Infer<typeof SweepResult> }
    | undefined;
}

const TransactionMessage: Message<Transaction, Transaction> = message("holdfast.key.Transaction", {
  compares: repeated(embed(1, Compare)),
  then: repeated(embed(2, (): Message<KeyOperation, KeyOperation> => KeyOperation)),
  otherwise: repeated(embed(3, (): Message<KeyOperation, KeyOperation> => KeyOperation)),
}) as Message<Transaction, Transaction>;

// The types above say the same as the schemas; they are written out because they refer to themselves.
export const KeyOperation: Message<KeyOperation, KeyOperation> = message("holdfast.key.Operation", {
  operation: oneOf({
    put: embed(1, Put),
    delete: embed(2, Delete),
    range: embed(3, Range),
    transaction: embed(4, TransactionMessage),
    check: embed(5, Check),
    compact: embed(6, Compact),
    sweep: embed(7, Sweep),
  }),
}) as Message<KeyOperation, KeyOperation>;

const TransactionResultMessage: Message<TransactionResult, TransactionResult> = message(
  "holdfast.key.TransactionResult",
  {
    succeeded: bool(1),
    results: repeated(embed(2, (): Message<KeyResult, KeyResult> => KeyResult)),
  },
) as Message<TransactionResult, TransactionResult>;

export const KeyResult: Message<KeyResult, KeyResult> = message("holdfast.key.Result", {
  result: oneOf({
    put: embed(1, PutResult),
    delete: embed(2, DeleteResult),
    range: embed(3, RangeResult),
    transaction: embed(4, TransactionResultMessage),
    check: embed(5, Empty),
    compact: embed(6, Empty),
    sweep: embed(7, SweepResult),
  }),
}) as Message<KeyResult, KeyResult>;
