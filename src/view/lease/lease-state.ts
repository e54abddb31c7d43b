/**
 * What leases are in the tree, and which keys go with them. The key view attaches and detaches keys; the lease view
 * grants, renews and ends.
 *
 *   17 'l' lease:8          → StoredLease
 *   17 'a' lease:8 key      → nothing: the key goes with the lease
 *   17 'v' lease:8 view reference → nothing: that view is told when the lease ends
 */
import { message, uint64 } from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import type { KeyRange, State } from "../view.ts";

export const leaseViewId = 17;

const lease = 0x6c;
const attachment = 0x61;
const viewAttachment = 0x76;

export const StoredLease = message("holdfast.lease.Lease", {
  /** Milliseconds. */
  ttlMs: uint64(1),
  /** Store time at which it may end. */
  deadlineMs: uint64(2),
});
export type StoredLease = Infer<typeof StoredLease>;

function withId(letter: number, id: bigint, tail: number): Uint8Array {
  const whole = new Uint8Array(10 + tail);
  whole[0] = leaseViewId;
  whole[1] = letter;
  new DataView(whole.buffer).setBigUint64(2, id);
  return whole;
}

export function leaseKey(id: bigint): Uint8Array {
  return withId(lease, id, 0);
}

export function leaseIdOf(whole: Uint8Array): bigint {
  return new DataView(whole.buffer, whole.byteOffset).getBigUint64(2);
}

export const allLeases: Required<KeyRange> = {
  start: new Uint8Array([leaseViewId, lease]),
  end: new Uint8Array([leaseViewId, lease + 1]),
};

function attachmentKey(id: bigint, key: Uint8Array): Uint8Array {
  const whole = withId(attachment, id, key.length);
  whole.set(key, 10);
  return whole;
}

/** Everything attached to a lease; a lease's id is below 2^63, so there is always a next one. */
export function attachments(id: bigint): Required<KeyRange> {
  return { start: withId(attachment, id, 0), end: withId(attachment, id + 1n, 0) };
}

/** The user's key in an attachment: a view. */
export function keyOfAttachment(whole: Uint8Array): Uint8Array {
  return whole.subarray(10);
}

const nothing = new Uint8Array(0);

export function leaseExists(state: State, id: bigint): boolean {
  return state.get(leaseKey(id)) !== undefined;
}

export function attach(state: State, id: bigint, key: Uint8Array): void {
  state.put(attachmentKey(id, key), nothing);
}

export function detach(state: State, id: bigint, key: Uint8Array): void {
  state.delete(attachmentKey(id, key));
}

function viewAttachmentKey(id: bigint, viewId: number, reference: Uint8Array): Uint8Array {
  const whole = withId(viewAttachment, id, 1 + reference.length);
  whole[10] = viewId;
  whole.set(reference, 11);
  return whole;
}

/** Has a view told, as `LeaseFollower`, when the lease ends; `reference` is whatever it knows its object by. */
export function attachView(state: State, id: bigint, viewId: number, reference: Uint8Array): void {
  state.put(viewAttachmentKey(id, viewId, reference), nothing);
}

export function detachView(state: State, id: bigint, viewId: number, reference: Uint8Array): void {
  state.delete(viewAttachmentKey(id, viewId, reference));
}

export function viewAttachments(id: bigint): Required<KeyRange> {
  return { start: withId(viewAttachment, id, 0), end: withId(viewAttachment, id + 1n, 0) };
}

/** Which view, and what it calls its object. */
export function viewOfAttachment(whole: Uint8Array): { readonly viewId: number; readonly reference: Uint8Array } {
  return { viewId: whole[10] as number, reference: whole.slice(11) };
}
