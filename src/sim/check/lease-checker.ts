/**
 * Does a key with a lease stay for as long as the lease promises? Measured in true time, which a simulation knows.
 *
 * A holder knows that its lease lives for the time to live from the moment at which it sent a request that was then
 * answered: the request was carried out not before. The members measure the time to live with their own clocks, which
 * may run too fast by `driftMax`.
 *
 * 1. A key is not found to be gone before that, unless somebody revoked the lease, or deleted the key or took it away from
 *    the lease, and had begun to do so.
 */
import { Violation } from "./violation.ts";

export interface LeaseCheckerOptions {
  /** A clock that shows 1 + `driftMax` seconds a second is the fastest. Default 0. */
  readonly driftMax?: number;
}

interface Sighting {
  readonly key: string;
  readonly beginMs: number;
  readonly endMs: number;
}

interface Lease {
  readonly ttlMs: number;
  /** Moments at which requests were sent that were answered. */
  readonly kept: number[];
  revokedMs: number;
}

export class LeaseChecker {
  readonly #driftMax: number;
  readonly #leases = new Map<string, Lease>();
  readonly #keys = new Map<string, { readonly lease: string; readonly putMs: number; freeMs: number }>();
  readonly #gone: Sighting[] = [];

  constructor({ driftMax = 0 }: LeaseCheckerOptions = {}) {
    this.#driftMax = driftMax;
  }

  /** A request for the lease was sent at this moment and has been answered. */
  granted(lease: string, ttlMs: number, sentMs: number): void {
    this.#leases.set(lease, { ttlMs, kept: [sentMs], revokedMs: Number.POSITIVE_INFINITY });
  }

  /** A request to keep it alive was sent at this moment, and answered that it lives. */
  keptAlive(lease: string, sentMs: number): void {
    this.#lease(lease).kept.push(sentMs);
  }

  /** A request to revoke it is being sent. */
  revoking(lease: string, nowMs: number): void {
    const known = this.#lease(lease);
    known.revokedMs = Math.min(known.revokedMs, nowMs);
  }

  /** A key was put with the lease, and that was acknowledged at this moment. Keys are not used for a second lease. */
  attached(key: string, lease: string, nowMs: number): void {
    this.#lease(lease);
    if (this.#keys.has(key)) throw new Violation("lease", `${key} is put with a second lease; take another key`);
    this.#keys.set(key, { lease, putMs: nowMs, freeMs: Number.POSITIVE_INFINITY });
  }

  /** Somebody is about to delete the key, or to put it without the lease. */
  freeing(key: string, nowMs: number): void {
    const known = this.#keys.get(key);
    if (known !== undefined) known.freeMs = Math.min(known.freeMs, nowMs);
  }

  /** A linearizable read that began and ended at these moments, or a watch, found that the key is not there. */
  gone(key: string, beginMs: number, endMs: number): void {
    this.#gone.push({ key, beginMs, endMs });
  }

  #lease(lease: string): Lease {
    const known = this.#leases.get(lease);
    if (known === undefined) throw new Violation("lease", `lease ${lease} was never granted`);
    return known;
  }

  /** Judges everything told so far: an answer may come after a sighting, and be about what was before it. */
  finish(): { readonly sightingCount: number } {
    for (const sighting of this.#gone) this.#check(sighting);
    return { sightingCount: this.#gone.length };
  }

  #check({ key, beginMs, endMs }: Sighting): void {
    const known = this.#keys.get(key);
    if (known === undefined || beginMs < known.putMs || known.freeMs <= endMs) return;
    const { ttlMs, kept, revokedMs } = this.#lease(known.lease);
    if (revokedMs <= endMs) return;
    const keptMs = kept.filter((sentMs) => sentMs <= endMs).reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    const leftMs = keptMs + ttlMs / (1 + this.#driftMax) - endMs;
    if (leftMs <= 0) return;
    const what = `${key} was gone at ${endMs.toFixed(3)} ms, ${leftMs.toFixed(3)} ms before its lease ${known.lease} could end`;
    const why = `kept alive at ${keptMs.toFixed(3)} ms for ${ttlMs} ms`;
    throw new Violation("lease", `${what}: ${why}, with clocks that run too fast by ${this.#driftMax} at most`);
  }
}
