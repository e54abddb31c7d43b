/** The operations and questions of the lock view, as messages. */
import {
  bool,
  bytes,
  embed,
  enumeration,
  message,
  oneOf,
  repeated,
  string,
  uint64,
  uint64Big,
} from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import { lockKinds, lockModes, StoredObject, StoredPlace } from "./lock-state.ts";

const lock = { kind: enumeration(1, lockKinds), name: string(2) } as const;

/** Asks for a place: to hold it at once, or to wait. */
const Acquire = message("holdfast.lock.Acquire", {
  ...lock,
  /** With which the place goes. */
  lease: uint64Big(3),
  /** The lease is granted with the place, with this time to live; 0: it exists. */
  ttlMs: uint64(4),
  mode: enumeration(5, lockModes),
  /** Of a semaphore: how many are wanted, of how many. */
  permits: uint64(6),
  permitCount: uint64(7),
  value: bytes(8),
  /** `conflict` where it would have to wait. */
  immediately: bool(9),
  /** Of a barrier: for how many it waits. */
  count: uint64(10),
});
/** Gives a place up, held or not; that it is gone is no error. `endLease` ends its lease too. */
const Release = message("holdfast.lock.Release", { ...lock, fence: uint64(3), endLease: bool(4) });
/** `conflict`, for good, unless the place is held. */
const Check = message("holdfast.lock.Check", { ...lock, fence: uint64(3) });
/** Changes what the holder tells. */
const Proclaim = message("holdfast.lock.Proclaim", { ...lock, fence: uint64(3), value: bytes(4) });

export const LockOperation = message("holdfast.lock.Operation", {
  operation: oneOf({
    acquire: embed(1, Acquire),
    release: embed(2, Release),
    check: embed(3, Check),
    proclaim: embed(4, Proclaim),
  }),
});
export type LockOperation = Infer<typeof LockOperation>;

const placeStates = { gone: 0, waiting: 1, holding: 2 } as const;

export const LockResult = message("holdfast.lock.Result", {
  fence: uint64(1),
  /** What the place is now; of `release`: what it was. */
  state: enumeration(2, placeStates),
  /** Of a barrier, behind the operation. */
  generation: uint64(3),
});
export type LockResult = Infer<typeof LockResult>;

/** Who holds, behind the fence `after`; or how one place stands. */
const Holders = message("holdfast.lock.Holders", { ...lock, after: uint64(3) });
const PlaceOf = message("holdfast.lock.PlaceOf", { ...lock, fence: uint64(3) });
export const LockQuery = message("holdfast.lock.Query", {
  query: oneOf({ holders: embed(1, Holders), place: embed(2, PlaceOf) }),
});
export type LockQuery = Infer<typeof LockQuery>;

const Holder = message("holdfast.lock.Holder", { fence: uint64(1), place: embed(2, StoredPlace) });
export const LockAnswer = message("holdfast.lock.Answer", {
  object: embed(1, StoredObject),
  holders: repeated(embed(2, Holder)),
  more: bool(3),
  state: enumeration(4, placeStates),
});
export type LockAnswer = Infer<typeof LockAnswer>;
