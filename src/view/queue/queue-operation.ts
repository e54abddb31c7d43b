/** The operations and questions of the queue view, as messages. */
import {
  bool,
  bytes,
  embed,
  enumeration,
  message,
  oneOf,
  optional,
  repeated,
  sint32,
  string,
  uint32,
  uint64,
  uint64Big,
} from "../../base/index.ts";
import type { Infer } from "../../base/index.ts";
import { jobStates, QueueSettings, StoredJob, StoredQueue } from "./queue-state.ts";

const PushedJob = message("holdfast.queue.PushedJob", {
  value: bytes(1),
  /** Larger ones are pulled first. */
  priority: sint32(2),
  /** It becomes ready so long after store time. */
  delayMs: uint64(3),
  /** While a job with the key is there, and for `dedupMs` from its push, pushing it again does nothing. Empty: none. */
  dedupKey: string(4),
  dedupMs: uint64(5),
});
const Push = message("holdfast.queue.Push", { name: string(1), jobs: repeated(embed(2, PushedJob)) });
/** Leases up to `count` ready jobs; the lease is granted with them, unless there are none. */
const Pull = message("holdfast.queue.Pull", {
  name: string(1),
  count: uint32(2),
  lease: uint64Big(3),
  ttlMs: uint64(4),
});
/** Which delivery of which job: `conflict`, for good, when the job is no longer leased by that one. */
const Delivery = message("holdfast.queue.Delivery", { id: uint64(1), attempt: uint32(2), lease: uint64Big(3) });
const Ack = message("holdfast.queue.Ack", { name: string(1), deliveries: repeated(embed(2, Delivery)) });
const Reject = message("holdfast.queue.Reject", {
  name: string(1),
  delivery: embed(2, Delivery),
  /** Absent: as the settings say. */
  delayMs: optional(uint64(3)),
  /** Among the dead ones at once. */
  dead: bool(4),
  error: string(5),
});
const Configure = message("holdfast.queue.Configure", { name: string(1), settings: embed(2, QueueSettings) });
/** One dead job, or with id 0 the first `limit`, become ready again, with all their attempts before them. */
const Requeue = message("holdfast.queue.Requeue", { name: string(1), id: uint64(2), limit: uint32(3) });
/** Deletes one job, or with id 0 the first `limit` in a state, leased ones excepted. */
const Remove = message("holdfast.queue.Remove", {
  name: string(1),
  id: uint64(2),
  state: enumeration(3, jobStates),
  limit: uint32(4),
});
/** Deletes a queue that has no jobs: `conflict` otherwise. */
const Delete = message("holdfast.queue.Delete", { name: string(1) });

export const QueueOperation = message("holdfast.queue.Operation", {
  operation: oneOf({
    push: embed(1, Push),
    pull: embed(2, Pull),
    ack: embed(3, Ack),
    reject: embed(4, Reject),
    configure: embed(5, Configure),
    requeue: embed(6, Requeue),
    remove: embed(7, Remove),
    delete: embed(8, Delete),
  }),
});
export type QueueOperation = Infer<typeof QueueOperation>;

const Pushed = message("holdfast.queue.Pushed", { id: uint64(1), duplicate: bool(2) });
export const NumberedJob = message("holdfast.queue.NumberedJob", { id: uint64(1), job: embed(2, StoredJob) });
export type NumberedJob = Infer<typeof NumberedJob>;
export const QueueResult = message("holdfast.queue.Result", {
  pushed: repeated(embed(1, Pushed)),
  pulled: repeated(embed(2, NumberedJob)),
  /** Jobs that the operation has changed. */
  count: uint64(3),
});
export type QueueResult = Infer<typeof QueueResult>;

/** How the queue stands; its jobs behind the id `after`; all queues behind the name `after`. */
const Info = message("holdfast.queue.Info", { name: string(1) });
const Jobs = message("holdfast.queue.Jobs", { name: string(1), after: uint64(2), dead: bool(3), limit: uint32(4) });
const Queues = message("holdfast.queue.Queues", { after: string(1) });
export const QueueQuery = message("holdfast.queue.Query", {
  query: oneOf({ info: embed(1, Info), jobs: embed(2, Jobs), queues: embed(3, Queues) }),
});
export type QueueQuery = Infer<typeof QueueQuery>;
const NamedQueue = message("holdfast.queue.Named", { name: string(1), queue: embed(2, StoredQueue) });
export const QueueAnswer = message("holdfast.queue.Answer", {
  queue: embed(1, StoredQueue),
  /** When the first delayed job becomes ready, store time; 0: none is delayed. */
  nextReadyMs: uint64(2),
  jobs: repeated(embed(3, NumberedJob)),
  queues: repeated(embed(4, NamedQueue)),
  more: bool(5),
});
export type QueueAnswer = Infer<typeof QueueAnswer>;
