/** `member`: one running participant. Puts the layers together into a store, serves it, and connects to one. */
export { ClusterService } from "./cluster/cluster-service.ts";
export type { ClusterTiming, MemberOptions } from "./cluster/member-options.ts";
export type { AddOptions, MemberInfo, MemberList, Members } from "./cluster/members.ts";
export { startMember } from "./cluster/start-member.ts";
export type { Member } from "./cluster/start-member.ts";
export { describeRecord } from "./describe-record.ts";
export { LocalStore, openStore } from "./local-store.ts";
export type { OpenOptions } from "./open-options.ts";
export { connectStore, RemoteStore } from "./remote-store.ts";
export type { ConnectOptions } from "./remote-store.ts";
export { serveStore } from "./serve.ts";
export type { Collecting, LogRecords, Scrubbing, StoreStatus, VerifyProgress } from "./service.ts";
export type { PastStore, Store } from "./store.ts";
export type { StoreSnapshots } from "./store-snapshots.ts";
export { verifyDirectory } from "./verify-directory.ts";
export type {
  AcquireOptions,
  Hold,
  JobInfo,
  KeyChoice,
  KeyEvent,
  KeyRecord,
  LeaseInfo,
  QueueInfo,
  Snapshot,
  SnapshotDifference,
  StreamEntry,
  TransactionContext,
  TransactionOptions,
  TransactionOutcome,
} from "../view/index.ts";
