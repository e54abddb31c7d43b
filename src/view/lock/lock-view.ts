/**
 * The `lock` view: who holds what has a name, and who waits for it. Locks, readers and writers, semaphores, barriers,
 * elections and presence are the same thing with other rules of who may hold together.
 *
 * Invariants:
 *  1. Places are granted in the order in which they were asked for: whoever waits is granted before all who asked later.
 *  2. A place has a fence, the revision at which it was asked for. Whoever holds alone after another has a larger one.
 *  3. A place goes with its lease, in the command that ends the lease, and whoever is next is granted in the same command.
 *
 * `check` is what makes fencing whole: with it in a command, nothing of that command takes effect unless the place is still
 * held (Kleppmann, "How to do distributed locking", 2016, on why a lock without it protects nothing).
 */
import { limits } from "../../base/index.ts";
import { attachView, detachView, leaseExists } from "../lease/lease-state.ts";
import type { LeaseFollower, LeaseView } from "../lease/lease-view.ts";
import { Refusal } from "../view.ts";
import type { ApplyContext, AskedView, ReadingContext, State, View } from "../view.ts";
import { LockAnswer, LockOperation, LockQuery, LockResult } from "./lock-operation.ts";
import {
  deletionKey,
  fenceOf,
  lockNameProblem,
  lockTopic,
  lockViewId,
  objectKey,
  placeKey,
  placeOfReference,
  placeRange,
  placeReference,
  readObject,
  readPlace,
  StoredDeletion,
  StoredObject,
  StoredPlace,
} from "./lock-state.ts";
import type { LockName, PlaceTable } from "./lock-state.ts";

type Value<Name extends string> = Extract<NonNullable<LockOperation["operation"]>, { case: Name }>["value"];
/** An object as it changes within one operation. */
type Changing = { -readonly [Name in keyof StoredObject]: StoredObject[Name] };

const valueSizeMax = 4_096;
const listCountMax = 1_024;

export class LockView implements AskedView<LockOperation, LockResult, LockQuery, LockAnswer>, LeaseFollower {
  readonly name = "lock";
  readonly id = lockViewId;
  readonly operation = LockOperation;
  readonly result = LockResult;
  readonly query = LockQuery;
  readonly answer = LockAnswer;
  readonly #self = this as unknown as View;
  readonly #leases: LeaseView;

  constructor(leases: LeaseView) {
    this.#leases = leases;
    leases.addFollower(this);
  }

  apply(context: ApplyContext, { operation }: LockOperation): LockResult | Refusal {
    if (operation === undefined) return new Refusal("invalid", "the operation is none that this version knows");
    const problem = lockNameProblem(operation.value);
    if (problem !== undefined) return new Refusal("invalid", `the name of the ${operation.value.kind} ${problem}`);
    const refused = context.work.operate();
    if (refused !== undefined) return refused;
    switch (operation.case) {
      case "acquire":
        return this.#acquire(context, operation.value);
      case "release":
        return this.#release(context, operation.value);
      case "check": {
        const { fence, kind, name } = operation.value;
        if (readPlace(context.state, operation.value, "holder", fence) !== undefined) return held(fence);
        const what = `the ${kind} ${name} is no longer held under fence ${fence}`;
        return new Refusal("conflict", `${what}${newestText(context.state, operation.value)}`, { final: true });
      }
      case "proclaim":
        return this.#proclaim(context, operation.value);
    }
  }

  #acquire(context: ApplyContext, asked: Value<"acquire">): LockResult | Refusal {
    const { state } = context;
    const object: Changing = { ...readObject(state, asked) };
    const refused = checkAcquire(asked, object) ?? this.#lease(context, asked);
    if (refused !== undefined) return refused;
    const { kind, mode, permits, lease, value } = asked;
    const place: StoredPlace = { lease, mode, permits: mode === "permits" ? permits : 0, value };
    const fence: number = context.revision;
    if (
      readPlace(state, asked, "holder", fence) !== undefined ||
      readPlace(state, asked, "waiter", fence) !== undefined
    ) {
      return new Refusal("invalid", `the command asks for the ${kind} ${asked.name} twice; let it ask once`);
    }
    if (kind === "semaphore") object.permitCount = asked.permitCount;
    const now = object.waiterCount === 0 && fits(object, place) && kind !== "barrier";
    if (!now && asked.immediately) {
      return new Refusal("conflict", `the ${kind} ${asked.name} is taken${newestText(state, asked)}`);
    }
    attachView(state, lease, this.id, placeReference(asked, fence));
    this.#put(context, asked, object, now ? "holder" : "waiter", fence, place);
    let became: LockResult["state"] = now ? "holding" : "waiting";
    if (kind === "barrier" && object.waiterCount >= asked.count) {
      const opened = this.#open(context, asked, object);
      if (opened !== undefined) return opened;
      became = "gone";
    }
    this.#write(context, asked, object);
    return { fence, state: became, generation: object.generation };
  }

  /** Grants the lease if the place brings one of its own. */
  #lease(context: ApplyContext, { lease, ttlMs }: Value<"acquire">): Refusal | undefined {
    if (ttlMs > 0) return this.#leases.grant(context, lease, ttlMs);
    if (leaseExists(context.state, lease)) return undefined;
    return new Refusal("notFound", `lease ${lease} does not exist or has ended; grant one and ask again`);
  }

  #put(
    context: ApplyContext,
    lock: LockName,
    object: Changing,
    table: PlaceTable,
    fence: number,
    place: StoredPlace,
  ): void {
    context.state.put(placeKey(lock, table, fence), StoredPlace.encode(place));
    if (table === "waiter") {
      object.waiterCount++;
      return;
    }
    object.holderCount++;
    object.heldPermits += place.permits;
    if (place.mode === "exclusive") object.exclusive = 1;
  }

  #remove(
    context: ApplyContext,
    lock: LockName,
    object: Changing,
    table: PlaceTable,
    fence: number,
    place: StoredPlace,
  ): void {
    context.state.delete(placeKey(lock, table, fence));
    context.emit(this.#self, lockTopic(lock, fence));
    if (table === "waiter") {
      object.waiterCount--;
      return;
    }
    object.holderCount--;
    object.heldPermits -= place.permits;
    if (place.mode === "exclusive") object.exclusive = 0;
  }

  #release(context: ApplyContext, { fence, endLease, ...lock }: Value<"release">): LockResult | Refusal {
    const { state } = context;
    const table = readPlace(state, lock, "holder", fence) === undefined ? "waiter" : "holder";
    const place = readPlace(state, lock, table, fence);
    if (place === undefined) return { fence, state: "gone", generation: readObject(state, lock).generation };
    detachView(state, place.lease, this.id, placeReference(lock, fence));
    const refused = this.#vacate(context, lock, table, fence, place);
    if (refused !== undefined) return refused;
    const ended = endLease && leaseExists(state, place.lease) ? this.#leases.end(context, place.lease) : undefined;
    return ended ?? { fence, state: table === "holder" ? "holding" : "waiting", generation: 0 };
  }

  #vacate(
    context: ApplyContext,
    lock: LockName,
    table: PlaceTable,
    fence: number,
    place: StoredPlace,
  ): Refusal | undefined {
    const object: Changing = { ...readObject(context.state, lock) };
    this.#remove(context, lock, object, table, fence, place);
    const refused = this.#advance(context, lock, object);
    if (refused !== undefined) return refused;
    this.#write(context, lock, object);
    return undefined;
  }

  leaseEnded(context: ApplyContext, _lease: bigint, reference: Uint8Array): Refusal | undefined {
    const found = placeOfReference(reference);
    if (found === undefined) return undefined;
    const { lock, fence } = found;
    const table = readPlace(context.state, lock, "holder", fence) === undefined ? "waiter" : "holder";
    const place = readPlace(context.state, lock, table, fence);
    return place === undefined ? undefined : this.#vacate(context, lock, table, fence, place);
  }

  /** Grants to those who wait, one after another, as far as they fit (1). */
  #advance(context: ApplyContext, lock: LockName, object: Changing): Refusal | undefined {
    if (lock.kind === "barrier" || object.waiterCount === 0) return undefined;
    const next: { readonly fence: number; readonly place: StoredPlace }[] = [];
    const granted = { ...object };
    for (const { key, value } of context.state.entries(placeRange(lock, "waiter"))) {
      const place = StoredPlace.decode(value);
      if (!fits(granted, place)) break;
      const refused = context.work.operate();
      if (refused !== undefined) return refused;
      granted.holderCount++;
      granted.heldPermits += place.permits;
      if (place.mode === "exclusive") granted.exclusive = 1;
      next.push({ fence: fenceOf(key), place });
    }
    for (const { fence, place } of next) {
      this.#remove(context, lock, object, "waiter", fence, place);
      this.#put(context, lock, object, "holder", fence, place);
    }
    return undefined;
  }

  /** Lets all pass who wait at a barrier. Their leases stay: they are their own. */
  #open(context: ApplyContext, lock: LockName, object: Changing): Refusal | undefined {
    const all = Array.from(context.state.entries(placeRange(lock, "waiter")), ({ key, value }) => ({
      fence: fenceOf(key),
      place: StoredPlace.decode(value),
    }));
    const refused = context.work.operate(all.length);
    if (refused !== undefined) return refused;
    object.generation++;
    for (const { fence, place } of all) {
      this.#remove(context, lock, object, "waiter", fence, place);
      detachView(context.state, place.lease, this.id, placeReference(lock, fence));
    }
    return undefined;
  }

  #write(context: ApplyContext, lock: LockName, object: Changing): void {
    const key = objectKey(lock);
    if (object.holderCount + object.waiterCount + object.generation === 0) {
      context.state.delete(key);
      context.state.put(deletionKey, StoredDeletion.encode({ revision: context.revision }));
    } else context.state.put(key, StoredObject.encode({ ...object, revision: context.revision }));
    context.changed();
    context.emit(this.#self, lockTopic(lock));
  }

  #proclaim(context: ApplyContext, { fence, value, ...lock }: Value<"proclaim">): LockResult | Refusal {
    const place = readPlace(context.state, lock, "holder", fence);
    if (place === undefined) {
      return new Refusal("conflict", `the ${lock.kind} ${lock.name} is no longer held under fence ${fence}`, {
        final: true,
      });
    }
    if (value.length > valueSizeMax) return tooLarge(value.length);
    context.state.put(placeKey(lock, "holder", fence), StoredPlace.encode({ ...place, value }));
    this.#write(context, lock, { ...readObject(context.state, lock) });
    return held(fence);
  }

  touches({ operation }: LockOperation, touch: (key: Uint8Array) => void): void {
    if (operation !== undefined) touch(objectKey(operation.value));
  }

  answerTo({ state }: ReadingContext, { query }: LockQuery): LockAnswer {
    if (query === undefined) return { object: undefined, holders: [], more: false, state: "gone" };
    const object = readObject(state, query.value);
    if (query.case === "place") {
      const { fence } = query.value;
      const isHolding = readPlace(state, query.value, "holder", fence) !== undefined;
      const isWaiting = !isHolding && readPlace(state, query.value, "waiter", fence) !== undefined;
      return { object, holders: [], more: false, state: isHolding ? "holding" : isWaiting ? "waiting" : "gone" };
    }
    const holders: { fence: number; place: StoredPlace }[] = [];
    for (const { key, value } of state.entries(placeRange(query.value, "holder", query.value.after))) {
      if (holders.length === listCountMax) return { object, holders, more: true, state: "gone" };
      holders.push({ fence: fenceOf(key), place: StoredPlace.decode(value) });
    }
    return { object, holders, more: false, state: "gone" };
  }

  unchanged({ state }: ReadingContext, { query }: LockQuery, since: number): boolean {
    if (query === undefined) return false;
    const stored = state.get(objectKey(query.value));
    if (stored !== undefined) return StoredObject.decode(stored).revision <= since;
    const deletion = state.get(deletionKey);
    return deletion === undefined || StoredDeletion.decode(deletion).revision <= since;
  }
}

function held(fence: number): LockResult {
  return { fence, state: "holding", generation: 0 };
}

function tooLarge(size: number): Refusal {
  return new Refusal("invalid", `the value of a holder is ${size} bytes; the limit is ${valueSizeMax}`);
}

function checkAcquire(asked: Value<"acquire">, object: StoredObject): Refusal | undefined {
  const { kind, name, mode, permits, permitCount, count, value, lease } = asked;
  if (value.length > valueSizeMax) return tooLarge(value.length);
  if (lease <= 0n) return new Refusal("invalid", "the place names no lease");
  if (mode !== modeOf(kind, mode)) return new Refusal("invalid", `a ${kind} is not held ${mode}`);
  if (kind === "barrier" && (count < 1 || count > limits.operationCountMax / 2)) {
    return new Refusal("invalid", `a barrier for ${count}; it must be for 1 to ${limits.operationCountMax / 2}`);
  }
  if (mode !== "permits") return undefined;
  if (permits < 1 || permits > permitCount) {
    return new Refusal("invalid", `${permits} permits of the semaphore ${name}; it must be from 1 to ${permitCount}`);
  }
  const isUsed = object.holderCount + object.waiterCount > 0;
  if (!isUsed || object.permitCount === permitCount) return undefined;
  const what = `the semaphore ${name} is used with ${object.permitCount} permits, and was asked for as one with ${permitCount}`;
  return new Refusal("conflict", `${what}: let all give the same number`);
}

/** How a kind is held; for those with a choice, the choice. */
function modeOf(kind: LockName["kind"], wanted: StoredPlace["mode"]): StoredPlace["mode"] {
  if (kind === "semaphore") return "permits";
  if (kind === "readWriteLock") return wanted === "permits" ? "shared" : wanted;
  if (kind === "barrier" || kind === "presence") return "shared";
  return "exclusive";
}

function fits(object: StoredObject, place: StoredPlace): boolean {
  if (object.exclusive > 0) return false;
  if (place.mode === "exclusive") return object.holderCount === 0;
  return place.mode === "shared" || object.heldPermits + place.permits <= object.permitCount;
}

/** Who holds now, for an error. */
function newestText(state: Pick<State, "entries">, lock: LockName): string {
  for (const { key } of state.entries(placeRange(lock, "holder"))) return `; it is held under fence ${fenceOf(key)}`;
  return "";
}
