/**
 * The `lease` view: leases that end when nobody keeps them alive, and take their keys and their upload of files with them.
 *
 * A lease is judged in store time, and ends by a command in the log: a member proposes `expire` when its own clock says
 * that the deadline has passed, and `apply` does it only if store time says so too and the lease was not kept alive
 * since. Granting and renewing take no
 * revision; deleting the keys of a lease that ends does.
 */
import { bool, embed, limits, message, oneOf, repeated, uint64, uint64Big } from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import { uploadKey } from "../file/layout.ts";
import { currentRecord, deleteKey } from "../key/key-state.ts";
import { Refusal } from "../view.ts";
import type { ApplyContext, State, View } from "../view.ts";
import {
  allLeases,
  attachments,
  keyOfAttachment,
  leaseIdOf,
  leaseKey,
  leaseViewId,
  StoredLease,
  viewAttachments,
  viewOfAttachment,
} from "./lease-state.ts";

const Empty = message("holdfast.lease.Empty", {});

/** The id is chosen by the proposer, from 1 to 2^63 - 1; `exists` if it is taken. */
const Grant = message("holdfast.lease.Grant", { lease: uint64Big(1), ttlMs: uint64(2) });
/** Ends the leases, at once. `notFound` unless `lenient`. */
const Revoke = message("holdfast.lease.Revoke", { lease: uint64Big(1) });
/** Gives each lease its full time again, from now. */
const KeepAlive = message("holdfast.lease.KeepAlive", { leases: repeated(uint64Big(1)) });
/** Ends those whose deadline has passed in store time, and is the one that the proposer has seen. */
const Expire = message("holdfast.lease.Expire", {
  leases: repeated(uint64Big(1)),
  /** Of each, in store time. */
  deadlinesMs: repeated(uint64(2)),
});
/** Gives every lease its full time again: for the time in which nobody could keep them alive. */
const RenewAll = message("holdfast.lease.RenewAll", {});

export const LeaseOperation = message("holdfast.lease.Operation", {
  operation: oneOf({
    grant: embed(1, Grant),
    revoke: embed(2, Revoke),
    keepAlive: embed(3, KeepAlive),
    expire: embed(4, Expire),
    renewAll: embed(5, RenewAll),
  }),
});
export type LeaseOperation = Infer<typeof LeaseOperation>;

/** What became of each lease of a `KeepAlive`: its time to live, or 0 if there is none of that id. */
const KeepAliveResult = message("holdfast.lease.KeepAliveResult", { ttlMs: repeated(uint64(1)) });
/** Keys that went with the leases. */
const EndResult = message("holdfast.lease.EndResult", { keyCount: uint64(1), ended: bool(2) });

export const LeaseResult = message("holdfast.lease.Result", {
  result: oneOf({
    grant: embed(1, Empty),
    revoke: embed(2, EndResult),
    keepAlive: embed(3, KeepAliveResult),
    expire: embed(4, EndResult),
    renewAll: embed(5, Empty),
  }),
});
export type LeaseResult = Infer<typeof LeaseResult>;

/** A lease whose end has moved, as it is announced to whoever looks after deadlines. */
export interface LeaseChange {
  readonly lease: bigint;
  /** Store time; undefined when the lease has ended. */
  readonly deadlineMs: number | undefined;
}

/** A view whose objects go with leases: those that it has attached by `attachView`. */
export interface LeaseFollower {
  readonly id: number;
  /** The lease has ended, and the attachment is gone; the object goes with it, in the same command. */
  leaseEnded(context: ApplyContext, lease: bigint, reference: Uint8Array): Refusal | undefined;
}

const idMax = 2n ** 63n - 1n;

export class LeaseView implements View<LeaseOperation, LeaseResult> {
  readonly name = "lease";
  readonly id = leaseViewId;
  readonly operation = LeaseOperation;
  readonly result = LeaseResult;
  readonly #self = this as unknown as View;
  /** Under whose name key changes are announced. */
  readonly #keyView: View;
  readonly #followers = new Map<number, LeaseFollower>();

  constructor(keyView: Pick<View, "id" | "name">) {
    this.#keyView = keyView as View;
  }

  /** At the start, by who makes the views. */
  addFollower(view: LeaseFollower): void {
    this.#followers.set(view.id, view);
  }

  apply(context: ApplyContext, { operation }: LeaseOperation): LeaseResult | Refusal {
    switch (operation?.case) {
      case undefined:
        return new Refusal("invalid", "the operation is none that this version knows");
      case "grant":
        return this.#grant(context, operation.value);
      case "revoke":
        return this.#revoke(context, operation.value.lease);
      case "keepAlive":
        return context.work.operate(operation.value.leases.length) ?? this.#keepAlive(context, operation.value.leases);
      case "expire":
        return context.work.operate(operation.value.leases.length) ?? this.#expire(context, operation.value);
      case "renewAll":
        return this.#renewAll(context);
    }
  }

  #grant(context: ApplyContext, { lease, ttlMs }: Infer<typeof Grant>): LeaseResult | Refusal {
    return this.grant(context, lease, ttlMs) ?? { result: { case: "grant", value: {} } };
  }

  /** For views that grant a lease with what they do. */
  grant(context: ApplyContext, lease: bigint, ttlMs: number): Refusal | undefined {
    if (lease <= 0n || lease > idMax) return new Refusal("invalid", `lease id ${lease} is not from 1 to 2^63 - 1`);
    if (ttlMs < limits.leaseTtlMinMs || ttlMs > limits.leaseTtlMaxMs) {
      return new Refusal(
        "invalid",
        `a lease of ${ttlMs} ms is not from ${limits.leaseTtlMinMs} to ${limits.leaseTtlMaxMs} (limits.leaseTtlMinMs, limits.leaseTtlMaxMs)`,
      );
    }
    if (context.state.get(leaseKey(lease)) !== undefined) {
      return new Refusal("exists", `lease ${lease} exists; grant one with another id, or let the store choose`);
    }
    this.#set(context, lease, ttlMs);
    return undefined;
  }

  /** Ends a lease that exists, for a view that has granted it. */
  end(context: ApplyContext, lease: bigint): Refusal | undefined {
    const ended = this.#end(context, lease);
    return ended instanceof Refusal ? ended : undefined;
  }

  #set(context: ApplyContext, lease: bigint, ttlMs: number): void {
    const deadlineMs = context.timeMs + ttlMs;
    context.state.put(leaseKey(lease), StoredLease.encode({ ttlMs, deadlineMs }));
    context.emit(this.#self, { lease, deadlineMs } satisfies LeaseChange);
  }

  #revoke(context: ApplyContext, lease: bigint): LeaseResult | Refusal {
    if (context.state.get(leaseKey(lease)) === undefined) {
      return new Refusal("notFound", `lease ${lease} does not exist or has ended`);
    }
    const keyCount = this.#end(context, lease);
    if (keyCount instanceof Refusal) return keyCount;
    return { result: { case: "revoke", value: { keyCount, ended: true } } };
  }

  #end(context: ApplyContext, lease: bigint): number | Refusal {
    const { state } = context;
    const keys = Array.from(state.entries(attachments(lease)), ({ key }) => keyOfAttachment(key).slice());
    for (const key of keys) {
      const record = currentRecord(context, key);
      if (record === undefined) continue;
      const refused = deleteKey(context, this.#keyView, key, record);
      if (refused !== undefined) return refused;
    }
    const attached = Array.from(state.entries(viewAttachments(lease)), ({ key }) => key.slice());
    const busy = attached.length === 0 ? undefined : context.work.operate(attached.length);
    if (busy !== undefined) return busy;
    state.delete(leaseKey(lease));
    state.delete(uploadKey(lease));
    for (const key of attached) state.delete(key);
    for (const key of attached) {
      const { viewId, reference } = viewOfAttachment(key);
      const refused = this.#followers.get(viewId)?.leaseEnded(context, lease, reference);
      if (refused !== undefined) return refused;
    }
    context.emit(this.#self, { lease, deadlineMs: undefined } satisfies LeaseChange);
    return keys.length;
  }

  #keepAlive(context: ApplyContext, leases: readonly bigint[]): LeaseResult {
    const ttlMs = leases.map((lease) => {
      const stored = readLease(context.state, lease);
      if (stored === undefined) return 0;
      this.#set(context, lease, stored.ttlMs);
      return stored.ttlMs;
    });
    return { result: { case: "keepAlive", value: { ttlMs } } };
  }

  #expire(context: ApplyContext, { leases, deadlinesMs }: Infer<typeof Expire>): LeaseResult | Refusal {
    let keyCount = 0;
    let ended = false;
    for (const [index, lease] of leases.entries()) {
      const stored = readLease(context.state, lease);
      // It was renewed, or ended, after the proposer looked. The proposer's clock, which makes store time, may be so far
      // ahead that a deadline set just before has passed too.
      if (stored === undefined || stored.deadlineMs !== deadlinesMs[index]) continue;
      if (stored.deadlineMs > context.timeMs) continue;
      const count = this.#end(context, lease);
      if (count instanceof Refusal) return count;
      keyCount += count;
      ended = true;
    }
    return { result: { case: "expire", value: { keyCount, ended } } };
  }

  #renewAll(context: ApplyContext): LeaseResult {
    const all = Array.from(context.state.entries(allLeases), ({ key, value }) => ({
      lease: leaseIdOf(key),
      ttlMs: StoredLease.decode(value).ttlMs,
    }));
    for (const { lease, ttlMs } of all) this.#set(context, lease, ttlMs);
    return { result: { case: "renewAll", value: {} } };
  }
}

function readLease(state: State, lease: bigint): StoredLease | undefined {
  if (lease <= 0n || lease > idMax) return undefined;
  const stored = state.get(leaseKey(lease));
  return stored === undefined ? undefined : StoredLease.decode(stored);
}
