/** `view`: what the log means. The apply loop, sessions, checkpoints, transactions, and one folder a view. */
export type { CollectionRoot, CollectionStart, EpochStore } from "./collection-start.ts";
export { Collector } from "./collector.ts";
export type { CollectionOptions, CollectorOptions } from "./collector.ts";
export type { CollectionProgress } from "./collector-run.ts";
export { fileChanges, placeName } from "./collector-contents.ts";
export type { MissingBlob } from "./collector-marks.ts";
export { Scrubber } from "./scrubber.ts";
export type { DamagedBlob, ScrubOptions, ScrubProgress, ScrubberOptions } from "./scrubber.ts";
export { CheckpointRecord, DiskCheckpoints, MemoryCheckpoints, rootOf } from "./checkpoint.ts";
export type { CheckpointStore, KeptCheckpoint, SaveOptions } from "./checkpoint.ts";
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
export type { TransactionParts } from "./transaction.ts";
export type { TransactionContext, TransactionOptions, TransactionOutcome } from "./transaction-context.ts";
export type { Job, RejectOptions } from "./queue/job.ts";
export type { DeliveredJob, PushOptions } from "./queue/push.ts";
export type { QueueInTransaction } from "./queue/queue-in-transaction.ts";
export type { JobInfo, PullOptions, PushOutcome, Queue, QueueInfo, QueueSettingsOptions } from "./queue/queues.ts";
export type { StreamInTransaction } from "./stream/stream-in-transaction.ts";
export type {
  AppendOptions,
  GroupInfo,
  ReadStreamOptions,
  RetentionOptions,
  Stream,
  StreamBatch,
  StreamEntry,
  StreamGroup,
  StreamInfo,
} from "./stream/streams.ts";
export type { CronTick } from "./cron/cron-tick.ts";
export type { Cron, CronInfo, CronOptions } from "./cron/crons.ts";
export type { AcquireOptions, Hold, HolderInfo } from "./lock/hold.ts";
export type { Barrier, Election, Lock, Presence, ReadWriteLock, Semaphore, SemaphoreOptions } from "./lock/locks.ts";
export { LocalViews } from "./local-views.ts";
export { RemoteViews, viewService, ViewService } from "./view-service.ts";
export { pastTransaction, pastViews } from "./view-source.ts";
export type { Answered, AskOptions, Topic, ViewSource } from "./view-source.ts";
export { StoreObjects } from "./store-objects.ts";
export { Refusal } from "./view.ts";
export type { ApplyContext, AskedView, BodyCodec, KeyRange, ReadingContext, State, StateEntry, View } from "./view.ts";
export { makeViews } from "./views.ts";
export type { Views } from "./views.ts";

export { Counter } from "./counter/counters.ts";
export type { IndexValue, MapKey } from "./map/map-key.ts";
export type { Entry, MapRangeOptions } from "./map/map-part.ts";
export type { MapInTransaction, RegisterInTransaction, SetInTransaction } from "./map/map-transaction.ts";
export { MapIndex, Register, StoreMap, StoreSet } from "./map/maps.ts";
export type { IndexListOptions, IndexOptions, IndexRange, MapListOptions, SetEntryOptions } from "./map/maps.ts";
export type { SequenceOptions } from "./counter/sequence.ts";
export type { Sequence } from "./counter/sequence.ts";
export type { RateLimiter, RateOptions, Taken } from "./limiter/limiters.ts";
export type { AddOptions, CounterInTransaction, SetOptions } from "./counter/counters.ts";

export { defineObject } from "./object/definition.ts";
export type {
  AnyDefinition,
  CommandContext,
  Commands,
  ObjectDefinition,
  ObjectSpecification,
  Queries,
} from "./object/definition.ts";
export type { TransactionObject } from "./object/object-transaction.ts";
export type { ObjectOptions, OpenObject, ReplicatedObject } from "./object/objects.ts";

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

export { FileKeeper } from "./file/file-keeper.ts";
export { BucketSettings, FileContent, FileOperation, FileResult, StoredFile } from "./file/file-operation.ts";
export { defaultBucketSettings } from "./file/file-rules.ts";
export type { BucketInfo, FileBatch, FileQuery, FileSource, FileVersion, ListedFile } from "./file/file-source.ts";
export { contentOf } from "./file/file-state.ts";
export type { FileChange } from "./file/file-state.ts";
export type {
  FileTransaction,
  PreparedFile,
  TransactionFile,
  TransactionListOptions,
} from "./file/file-transaction.ts";
export type { FileView } from "./file/file-view.ts";
export { fileRanges } from "./file/layout.ts";
export { LocalFiles } from "./file/local.ts";
export { RemoteFiles } from "./file/remote.ts";
export { FileService, fileService } from "./file/service.ts";
export { liveUploads } from "./file/upload-state.ts";

export { SnapshotKeeper } from "./snapshot/snapshot-keeper.ts";
export { LocalSnapshots } from "./snapshot/local.ts";
export { RemoteSnapshots } from "./snapshot/remote.ts";
export { snapshotService, SnapshotService } from "./snapshot/service.ts";
export { SnapshotOperation, SnapshotResult } from "./snapshot/snapshot-operation.ts";
export type { Difference, DiffQuery, NamedSnapshot, SnapshotSource } from "./snapshot/snapshot-source.ts";
export type { SnapshotView } from "./snapshot/snapshot-view.ts";
export { Snapshots } from "./snapshot/snapshots.ts";
export type {
  DeleteSnapshotOptions,
  DiffOptions,
  Snapshot,
  SnapshotChoice,
  SnapshotDifference,
} from "./snapshot/snapshots.ts";
