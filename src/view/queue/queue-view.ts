/**
 * The `queue` view: jobs that are pushed, leased to who pulls them, and gone when they are acknowledged.
 *
 * Invariants:
 *  1. A job is in exactly one state: ready, delayed, leased or dead; the counts of its queue say how many are in each.
 *  2. Of those ready the one with the largest priority is pulled first, and of equal ones the one that was pushed first.
 *  3. A job is leased to one at a time. A delivery is (id, attempt, lease): when the lease ends, in that very command, the
 *     job is ready again or dead, and whatever its former holder does with the delivery is refused for good.
 *
 * So a job is worked on at least once, and what is done in the command that acknowledges it takes effect exactly once.
 */
import { limits } from "../../base/index.ts";
import { attachView, detachView, leaseExists, viewAttachments } from "../lease/lease-state.ts";
import type { LeaseFollower, LeaseView } from "../lease/lease-view.ts";
import { nameProblem } from "../value.ts";
import { Refusal } from "../view.ts";
import type { ApplyContext, AskedView, ReadingContext, View } from "../view.ts";
import { QueueAnswer, QueueOperation, QueueQuery, QueueResult } from "./queue-operation.ts";
import type { NumberedJob } from "./queue-operation.ts";
import {
  allQueues,
  deadRange,
  dedupKeyKey,
  delayedRange,
  idOf,
  indexKey,
  jobKey,
  jobOfReference,
  jobReference,
  jobsRange,
  keyTimeKey,
  keyTimes,
  nameOfQueue,
  newQueue,
  queueKey,
  queueViewId,
  readJob,
  readKeyTime,
  readQueue,
  readyMsOf,
  readyRange,
  StoredJob,
  StoredKey,
  StoredQueue,
} from "./queue-state.ts";
import type { JobState } from "./queue-state.ts";

type Value<Name extends string> = Extract<NonNullable<QueueOperation["operation"]>, { case: Name }>["value"];
type Changing = { -readonly [Name in keyof StoredQueue]: StoredQueue[Name] };
type Delivery = Value<"ack">["deliveries"][number];

/** Delayed jobs that one pull makes ready, and remembered keys that one push forgets. */
const movedCountMax = 256;
const forgottenCountMax = 4;
const pullCountMax = 1_000;
const dedupKeySizeMax = 256;
const errorSizeMax = 1_024;
const listCountMax = 1_024;
const nothing = new Uint8Array(0);
const done: QueueResult = { pushed: [], pulled: [], count: 0 };
const countNames = { ready: "readyCount", delayed: "delayedCount", leased: "leasedCount", dead: "deadCount" } as const;

export class QueueView implements AskedView<QueueOperation, QueueResult, QueueQuery, QueueAnswer>, LeaseFollower {
  readonly name = "queue";
  readonly id = queueViewId;
  readonly operation = QueueOperation;
  readonly result = QueueResult;
  readonly query = QueueQuery;
  readonly answer = QueueAnswer;
  readonly #self = this as unknown as View;
  readonly #leases: LeaseView;

  constructor(leases: LeaseView) {
    this.#leases = leases;
    leases.addFollower(this);
  }

  apply(context: ApplyContext, { operation }: QueueOperation): QueueResult | Refusal {
    if (operation === undefined) return new Refusal("invalid", "the operation is none that this version knows");
    const { name } = operation.value;
    const problem = nameProblem(name);
    if (problem !== undefined) return new Refusal("invalid", `the name of the queue ${problem}`);
    const refused = context.work.operate();
    if (refused !== undefined) return refused;
    const queue: Changing = { ...(readQueue(context.state, name) ?? newQueue) };
    const result = this.#apply(context, name, queue, operation);
    if (result instanceof Refusal || result === done) return result;
    if (operation.case === "delete") context.state.delete(queueKey(name));
    else context.state.put(queueKey(name), StoredQueue.encode({ ...queue, revision: context.revision }));
    context.changed();
    context.emit(this.#self, name);
    return result;
  }

  /** `done` where nothing has changed. */
  #apply(
    context: ApplyContext,
    name: string,
    queue: Changing,
    operation: NonNullable<QueueOperation["operation"]>,
  ): QueueResult | Refusal {
    switch (operation.case) {
      case "push":
        return this.#push(context, name, queue, operation.value);
      case "pull":
        return this.#pull(context, name, queue, operation.value);
      case "ack":
        return this.#ack(context, name, queue, operation.value);
      case "reject":
        return this.#reject(context, name, queue, operation.value);
      case "configure":
        return configure(queue, operation.value);
      case "requeue":
        return this.#requeue(context, name, queue, operation.value);
      case "remove":
        return this.#removeSome(context, name, queue, operation.value);
      case "delete": {
        const count = queue.readyCount + queue.delayedCount + queue.leasedCount + queue.deadCount;
        if (count === 0) return { ...done, count: 1 };
        return new Refusal("conflict", `the queue ${name} has ${count} jobs; purge it before you delete it`);
      }
    }
  }

  #push(context: ApplyContext, name: string, queue: Changing, { jobs }: Value<"push">): QueueResult | Refusal {
    const { state, timeMs } = context;
    const refused = context.work.operate(jobs.length) ?? jobs.map(checkPushed).find((one) => one !== undefined);
    if (refused !== undefined) return refused;
    this.#forget(context, name);
    let isNew = false;
    const pushed = jobs.map(({ value, priority, delayMs, dedupKey, dedupMs }) => {
      const known = dedupKey === "" ? undefined : state.get(dedupKeyKey(name, dedupKey));
      const before = known === undefined ? undefined : StoredKey.decode(known);
      if (before !== undefined && (before.untilMs > timeMs || readJob(state, name, before.id) !== undefined)) {
        return { id: before.id, duplicate: true };
      }
      const id = ++queue.lastId;
      const readyMs = timeMs + delayMs;
      const job: StoredJob = {
        ...StoredJob.decode(nothing),
        value,
        priority,
        dedupKey,
        readyMs,
        pushedMs: timeMs,
        state: delayMs > 0 ? "delayed" : "ready",
      };
      this.#put(context, name, queue, id, job);
      if (dedupKey !== "") {
        state.put(dedupKeyKey(name, dedupKey), StoredKey.encode({ id, untilMs: timeMs + dedupMs }));
      }
      isNew = true;
      return { id, duplicate: false };
    });
    if (isNew) this.#wake(context, name);
    return isNew ? { ...done, pushed, count: pushed.length } : { ...done, pushed };
  }

  /** Whoever waits for a job looks again. */
  #wake(context: ApplyContext, name: string): void {
    context.emit(this.#self, readyTopic(name));
  }

  /** Keys whose time is over, and whose job is done. */
  #forget({ state, timeMs }: ApplyContext, name: string): void {
    const old: { readonly whole: Uint8Array; readonly key: string }[] = [];
    for (const { key: whole } of state.entries(keyTimes(name))) {
      const { untilMs, key } = readKeyTime(name, whole);
      if (untilMs > timeMs || old.length === forgottenCountMax) break;
      old.push({ whole: whole.slice(), key });
    }
    for (const { whole, key } of old) {
      state.delete(whole);
      const stored = state.get(dedupKeyKey(name, key));
      if (stored === undefined) continue;
      const { id, untilMs } = StoredKey.decode(stored);
      // The key may stand for a newer job.
      if (untilMs <= timeMs && readJob(state, name, id) === undefined) state.delete(dedupKeyKey(name, key));
    }
  }

  #put({ state }: ApplyContext, name: string, queue: Changing, id: number, job: StoredJob): void {
    state.put(jobKey(name, id), StoredJob.encode(job));
    const index = indexKey(name, id, job);
    if (index !== undefined) state.put(index, nothing);
    queue[countNames[job.state]]++;
  }

  /** Takes it out of its index; the job itself stays. */
  #take({ state }: ApplyContext, name: string, queue: Changing, id: number, job: StoredJob): void {
    const index = indexKey(name, id, job);
    if (index !== undefined) state.delete(index);
    queue[countNames[job.state]]--;
  }

  #pull(context: ApplyContext, name: string, queue: Changing, asked: Value<"pull">): QueueResult | Refusal {
    const { state, timeMs } = context;
    const { count, lease, ttlMs } = asked;
    if (count < 1 || count > pullCountMax) {
      return new Refusal("invalid", `${count} jobs at once; it must be from 1 to ${pullCountMax}`);
    }
    this.#ripen(context, name, queue);
    const found: { id: number; job: StoredJob }[] = [];
    let size = 0;
    for (const { key } of state.entries(readyRange(name))) {
      const id = idOf(key);
      const job = readJob(state, name, id);
      if (job === undefined) continue;
      size += job.value.length;
      if (found.length > 0 && size > limits.answerSizeMax) break;
      found.push({ id, job });
      if (found.length === count) break;
    }
    if (found.length === 0) return done;
    const refused = context.work.operate(found.length) ?? this.#leases.grant(context, lease, ttlMs);
    if (refused !== undefined) return refused;
    const pulled = found.map(({ id, job }): NumberedJob => {
      this.#take(context, name, queue, id, job);
      const leased: StoredJob = { ...job, state: "leased", attempt: job.attempt + 1, lease, readyMs: timeMs };
      this.#put(context, name, queue, id, leased);
      attachView(state, lease, this.id, jobReference(name, id));
      return { id, job: leased };
    });
    return { ...done, pulled, count: pulled.length };
  }

  /** Delayed jobs whose time has come become ready. */
  #ripen(context: ApplyContext, name: string, queue: Changing): void {
    const ripe: number[] = [];
    for (const { key } of context.state.entries(delayedRange(name))) {
      if (readyMsOf(key) > context.timeMs || ripe.length === movedCountMax) break;
      ripe.push(idOf(key));
    }
    for (const id of ripe) {
      const job = readJob(context.state, name, id);
      if (job !== undefined) this.#move(context, name, queue, id, job, { ...job, state: "ready" });
    }
  }

  #move(context: ApplyContext, name: string, queue: Changing, id: number, from: StoredJob, to: StoredJob): void {
    this.#take(context, name, queue, id, from);
    this.#put(context, name, queue, id, to);
  }

  /** The job of a delivery, if it is still that one's. */
  #leased({ state }: ApplyContext, name: string, { id, attempt, lease }: Delivery): StoredJob | Refusal {
    const job = readJob(state, name, id);
    if (job?.state === "leased" && job.attempt === attempt && job.lease === lease) return job;
    const why = job === undefined ? "it is done" : `it is ${job.state}, after ${job.attempt} attempts`;
    const what = `job ${id} of the queue ${name} is no longer leased as attempt ${attempt}: ${why}`;
    return new Refusal("conflict", what, { final: true });
  }

  #ack(context: ApplyContext, name: string, queue: Changing, { deliveries }: Value<"ack">): QueueResult | Refusal {
    const refused = context.work.operate(deliveries.length);
    if (refused !== undefined) return refused;
    for (const delivery of deliveries) {
      const job = this.#leased(context, name, delivery);
      if (job instanceof Refusal) return job;
      this.#finish(context, name, queue, delivery.id, job);
      const ended = this.#detach(context, name, delivery);
      if (ended !== undefined) return ended;
    }
    return { ...done, count: deliveries.length };
  }

  /** The job is over; its deduplication key is remembered for as long as it was wanted. */
  #finish(context: ApplyContext, name: string, queue: Changing, id: number, job: StoredJob): void {
    const { state, timeMs } = context;
    this.#take(context, name, queue, id, job);
    state.delete(jobKey(name, id));
    const { dedupKey } = job;
    if (dedupKey === "") return;
    const stored = state.get(dedupKeyKey(name, dedupKey));
    const known = stored === undefined ? undefined : StoredKey.decode(stored);
    if (known?.id !== id) return;
    if (known.untilMs > timeMs) state.put(keyTimeKey(name, known.untilMs, dedupKey), nothing);
    else state.delete(dedupKeyKey(name, dedupKey));
  }

  /** The lease no longer has the job; one that has none left ends. */
  #detach(context: ApplyContext, name: string, { id, lease }: Delivery): Refusal | undefined {
    const { state } = context;
    detachView(state, lease, this.id, jobReference(name, id));
    if (state.count(viewAttachments(lease)) > 0 || !leaseExists(state, lease)) return undefined;
    return this.#leases.end(context, lease);
  }

  #reject(context: ApplyContext, name: string, queue: Changing, asked: Value<"reject">): QueueResult | Refusal {
    const { delivery, delayMs, dead, error } = asked;
    if (delivery === undefined) return new Refusal("invalid", "the rejection names no delivery");
    const job = this.#leased(context, name, delivery);
    if (job instanceof Refusal) return job;
    this.#giveBack(context, name, queue, delivery.id, job, {
      delayMs: delayMs ?? retryMs(queue, job.attempt),
      dead,
      error: error.slice(0, errorSizeMax),
    });
    return this.#detach(context, name, delivery) ?? { ...done, count: 1 };
  }

  #giveBack(
    context: ApplyContext,
    name: string,
    queue: Changing,
    id: number,
    job: StoredJob,
    { delayMs, dead, error }: { readonly delayMs: number; readonly dead: boolean; readonly error: string },
  ): void {
    const isDead = dead || (queue.attemptCountMax > 0 && job.attempt >= queue.attemptCountMax);
    const state: JobState = isDead ? "dead" : delayMs > 0 ? "delayed" : "ready";
    this.#move(context, name, queue, id, job, { ...job, state, lease: 0n, readyMs: context.timeMs + delayMs, error });
    if (!isDead) this.#wake(context, name);
  }

  leaseEnded(context: ApplyContext, lease: bigint, reference: Uint8Array): Refusal | undefined {
    const { name, id } = jobOfReference(reference);
    const job = readJob(context.state, name, id);
    const stored = readQueue(context.state, name);
    if (stored === undefined || job?.state !== "leased" || job.lease !== lease) return undefined;
    const queue: Changing = { ...stored };
    this.#giveBack(context, name, queue, id, job, { delayMs: 0, dead: false, error: "its lease has ended" });
    context.state.put(queueKey(name), StoredQueue.encode({ ...queue, revision: context.revision }));
    context.changed();
    context.emit(this.#self, name);
    return undefined;
  }

  #requeue(
    context: ApplyContext,
    name: string,
    queue: Changing,
    { id, limit }: Value<"requeue">,
  ): QueueResult | Refusal {
    const ids = id === 0 ? this.#some(context, name, "dead", limit) : [id];
    const refused = context.work.operate(ids.length);
    if (refused !== undefined) return refused;
    let count = 0;
    for (const each of ids) {
      const job = readJob(context.state, name, each);
      if (job?.state !== "dead") {
        if (id === 0) continue;
        return new Refusal("notFound", `the queue ${name} has no dead job ${id}`);
      }
      this.#move(context, name, queue, each, job, { ...job, state: "ready", attempt: 0, readyMs: context.timeMs });
      count++;
    }
    if (count === 0) return done;
    this.#wake(context, name);
    return { ...done, count };
  }

  #some({ state }: ApplyContext, name: string, which: JobState, limit: number): number[] {
    const range = { ready: readyRange(name), delayed: delayedRange(name), dead: deadRange(name, 0), leased: undefined }[
      which
    ];
    const ids: number[] = [];
    if (range === undefined || limit === 0) return ids;
    for (const { key } of state.entries(range)) {
      ids.push(idOf(key));
      if (ids.length >= Math.min(limit, listCountMax)) break;
    }
    return ids;
  }

  #removeSome(context: ApplyContext, name: string, queue: Changing, asked: Value<"remove">): QueueResult | Refusal {
    const { id, state, limit } = asked;
    const ids = id === 0 ? this.#some(context, name, state, limit) : [id];
    const refused = context.work.operate(ids.length);
    if (refused !== undefined) return refused;
    for (const each of ids) {
      const job = readJob(context.state, name, each);
      if (job === undefined) return new Refusal("notFound", `the queue ${name} has no job ${each}`);
      if (job.state === "leased") return new Refusal("conflict", `job ${each} of the queue ${name} is leased`);
      this.#finish(context, name, queue, each, job);
    }
    return ids.length === 0 ? done : { ...done, count: ids.length };
  }

  touches({ operation }: QueueOperation, touch: (key: Uint8Array) => void): void {
    if (operation === undefined) return;
    const { name } = operation.value;
    touch(queueKey(name));
    if (operation.case === "pull") touch(readyRange(name).start);
    if (operation.case === "ack") for (const { id } of operation.value.deliveries) touch(jobKey(name, id));
  }

  answerTo({ state }: ReadingContext, { query }: QueueQuery): QueueAnswer {
    const answer = { queue: undefined, nextReadyMs: 0, jobs: [], queues: [], more: false };
    if (query?.case === "queues") {
      const queues: { name: string; queue: StoredQueue }[] = [];
      for (const { key, value } of state.entries(allQueues)) {
        const name = nameOfQueue(key);
        if (query.value.after !== "" && name <= query.value.after) continue;
        if (queues.length === listCountMax) return { ...answer, queues, more: true };
        queues.push({ name, queue: StoredQueue.decode(value) });
      }
      return { ...answer, queues };
    }
    if (query === undefined) return answer;
    const { name } = query.value;
    const queue = readQueue(state, name);
    if (query.case === "info") {
      for (const { key } of state.entries(delayedRange(name))) return { ...answer, queue, nextReadyMs: readyMsOf(key) };
      return { ...answer, queue };
    }
    const { after, dead, limit } = query.value;
    const jobs: NumberedJob[] = [];
    let size = 0;
    for (const { key } of state.entries(dead ? deadRange(name, after) : jobsRange(name, after))) {
      if (jobs.length >= Math.min(limit, listCountMax) || size > limits.answerSizeMax) {
        return { ...answer, queue, jobs, more: true };
      }
      const job = readJob(state, name, idOf(key));
      if (job !== undefined) jobs.push({ id: idOf(key), job });
      size += job?.value.length ?? 0;
    }
    return { ...answer, queue, jobs };
  }

  unchanged({ state }: ReadingContext, { query }: QueueQuery, since: number): boolean {
    if (query === undefined || query.case === "queues") return false;
    const queue = readQueue(state, query.value.name);
    // A queue that was deleted leaves nothing behind that says when.
    return queue !== undefined && queue.revision <= since;
  }
}

/** Told when a job may have become ready. */
export function readyTopic(name: string): string {
  return `${name}\u0000ready`;
}

function retryMs({ retryMinMs, retryMaxMs }: StoredQueue, attempt: number): number {
  return Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(attempt - 1, 40));
}

function configure(queue: Changing, { settings }: Value<"configure">): QueueResult | Refusal {
  if (settings === undefined) return new Refusal("invalid", "the operation names no settings");
  const { attemptCountMax, retryMinMs, retryMaxMs } = settings;
  if (retryMinMs > retryMaxMs || retryMaxMs > limits.leaseTtlMaxMs) {
    const what = `retryMinMs ${retryMinMs} and retryMaxMs ${retryMaxMs}: the first must not be above the second`;
    return new Refusal("invalid", `${what}, nor that above ${limits.leaseTtlMaxMs}`);
  }
  Object.assign(queue, { attemptCountMax, retryMinMs, retryMaxMs });
  return { ...done, count: 1 };
}

function checkPushed({ value, dedupKey, delayMs, dedupMs }: Value<"push">["jobs"][number]): Refusal | undefined {
  if (value.length > limits.valueSizeMax + 1) {
    const what = `a job is ${value.length} bytes; the limit is ${limits.valueSizeMax} (limits.valueSizeMax)`;
    return new Refusal("invalid", `${what}: keep large data in files`);
  }
  if (dedupKey.length > dedupKeySizeMax) {
    return new Refusal(
      "invalid",
      `a deduplication key has ${dedupKey.length} characters; the limit is ${dedupKeySizeMax}`,
    );
  }
  if (delayMs > limits.leaseTtlMaxMs || dedupMs > limits.leaseTtlMaxMs) {
    return new Refusal("invalid", `delayMs and dedupMs must not be above ${limits.leaseTtlMaxMs}`);
  }
  return undefined;
}
