/** `view`: what the log means. The apply loop, sessions, checkpoints, transactions, and one folder a view. */
export { CheckpointRecord, DiskCheckpoints, MemoryCheckpoints, rootOf } from "./checkpoint.ts";
export type { CheckpointStore } from "./checkpoint.ts";
export { decodeCommand, encodeCommand, operation } from "./command.ts";
export type {
  CommandHeader,
  CommandOutcome,
  DecodedCommand,
  DecodedOperation,
  Operation,
  ProposeOptions,
  Proposer,
} from "./command.ts";
export type { HeldState } from "./held.ts";
export type { Listener } from "./listeners.ts";
export type { SessionStamp } from "./proposals.ts";
export { RemoteProposer } from "./remote.ts";
export { RemoteCalls } from "./remote-calls.ts";
export type { RemoteOptions } from "./remote-calls.ts";
export { Replica } from "./replica.ts";
export type { ReplicaOptions, ReplicaParts } from "./replica.ts";
export { commandService, CommandService } from "./service.ts";
export { SessionOperation, SessionResult, sessionViewId } from "./sessions.ts";
export type { StateSnapshot } from "./state.ts";
export { runTransaction } from "./transaction.ts";
export type { TransactionContext, TransactionOptions, TransactionOutcome } from "./transaction.ts";
export { Refusal } from "./view.ts";
export type { ApplyContext, BodyCodec, KeyRange, State, StateEntry, View } from "./view.ts";
export { makeViews } from "./views.ts";
export type { Views } from "./views.ts";

export { Compactor } from "./key/compactor.ts";
export { KeyOperation, KeyResult } from "./key/key-operation.ts";
export type { KeyQuery, KeySource, ReadOptions, WatchQuery, WatchStep } from "./key/key-source.ts";
export type { KeyTransaction } from "./key/key-transaction.ts";
export { compactRevision } from "./key/key-view.ts";
export type { KeyView } from "./key/key-view.ts";
export { Keys, PastKeys } from "./key/keys.ts";
export type {
  Commit,
  CommitOutcome,
  Condition,
  DeleteOptions,
  DeleteOutcome,
  ListOptions,
  PutOptions,
  Step,
  StepOutcome,
  WatchOptions,
} from "./key/keys.ts";
export { LocalKeys } from "./key/local.ts";
export { checkedRevision, KeyRecord } from "./key/record.ts";
export type { JsonValue, Key, KeyChoice, KeyEvent, Value, WatchProgress } from "./key/record.ts";
export { RemoteKeys } from "./key/remote.ts";
export { KeyService, keyService } from "./key/service.ts";

export { LeaseKeeper } from "./lease/lease-keeper.ts";
export { LeaseOperation, LeaseResult } from "./lease/lease-view.ts";
export type { LeaseView } from "./lease/lease-view.ts";
export { Lease, Leases } from "./lease/leases.ts";
export type { GrantOptions, LeaseInfo, LeaseSource } from "./lease/leases.ts";
export { LocalLeases } from "./lease/local.ts";
export { leaseService, LeaseService, RemoteLeases } from "./lease/service.ts";
