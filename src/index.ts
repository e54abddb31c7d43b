/**
 * Holdfast: keys, files and snapshots on one log; embedded in one process or served to many.
 *
 * `open` and `connect` give the same `Store`; the types here are those that it takes and gives. The layers below have entries
 * of their own: `holdfast/base`, `holdfast/raft`, `holdfast/rpc`, `holdfast/log`, `holdfast/blob`, `holdfast/tree`,
 * `holdfast/view`, `holdfast/file`, `holdfast/host`, `holdfast/sim`.
 */
import { natsKind, nodeEnv, WorkerPipeline } from "./host/index.ts";
import { connectStore, openStore, startMember } from "./member/index.ts";
import type { ConnectOptions, Member, MemberOptions, OpenOptions, Store } from "./member/index.ts";
import { HoldfastError } from "./base/index.ts";
import type { Logger } from "./base/index.ts";

export { HoldfastError, limits } from "./base/index.ts";
export { defineObject } from "./view/index.ts";
export type { ErrorCode, Logger, Revision } from "./base/index.ts";
export type {
  Bucket,
  BucketCallOptions,
  BucketOptions,
  Buckets,
  BucketSecret,
  ByteStream,
  CopyFileOptions,
  DeleteFileOptions,
  EntryOptions,
  FileAttributes,
  FileConditions,
  FileEntry,
  FileInput,
  FileListOptions,
  FileOutcome,
  FilePath,
  FileReading,
  FileRecord,
  Files,
  GetOptions,
  PastFiles,
  PathPrefix,
  PutFileOptions,
  PutManyOptions,
  PutManyOutcome,
  RangeOptions,
  RestoreChange,
  RestoreOptions,
  RestoreProgress,
  Retained,
  RetentionReason,
  RetentionRules,
  Uploaded,
  UploadedFile,
  UploadLaterOptions,
  UploadOptions,
  VersionRecord,
} from "./file/index.ts";
export type {
  AddOptions,
  ClusterTiming,
  Collecting,
  ConnectOptions,
  LogRecords,
  MemberInfo,
  MemberList,
  MemberOptions,
  Members,
  OpenOptions,
  PastStore,
  Scrubbing,
  Store,
  StoreSnapshots,
  StoreStatus,
  VerifyProgress,
} from "./member/index.ts";
export type {
  AcquireOptions,
  AppendOptions,
  Barrier,
  CollectionOptions,
  CommandContext,
  Commit,
  CommitOutcome,
  Condition,
  Counter,
  CounterInTransaction,
  Cron,
  CronInfo,
  CronOptions,
  CronTick,
  DeleteOptions,
  DeleteOutcome,
  DeleteSnapshotOptions,
  DeliveredJob,
  DiffOptions,
  Election,
  Entry,
  FileTransaction,
  GrantOptions,
  GroupInfo,
  Hold,
  HolderInfo,
  IndexListOptions,
  IndexOptions,
  IndexRange,
  IndexValue,
  Job,
  JobInfo,
  JsonValue,
  Key,
  KeyChoice,
  KeyEvent,
  KeyRecord,
  Keys,
  Lease,
  LeaseInfo,
  Leases,
  ListOptions,
  Lock,
  MapInTransaction,
  MapIndex,
  MapKey,
  MapListOptions,
  MapRangeOptions,
  PastKeys,
  PreparedFile,
  Presence,
  PullOptions,
  PushOptions,
  PushOutcome,
  PutOptions,
  Queue,
  QueueInTransaction,
  QueueInfo,
  QueueSettingsOptions,
  RateLimiter,
  RateOptions,
  ReadOptions,
  ReadStreamOptions,
  ReadWriteLock,
  Register,
  RegisterInTransaction,
  RejectOptions,
  RetentionOptions,
  ScrubOptions,
  Semaphore,
  SemaphoreOptions,
  Sequence,
  SequenceOptions,
  SetEntryOptions,
  SetInTransaction,
  SetOptions,
  Snapshot,
  SnapshotChoice,
  SnapshotDifference,
  Step,
  StepOutcome,
  StoreMap,
  StoreSet,
  Stream,
  StreamBatch,
  StreamEntry,
  StreamGroup,
  StreamInTransaction,
  StreamInfo,
  Taken,
  TransactionContext,
  TransactionObject,
  TransactionOptions,
  TransactionOutcome,
  Value,
  WatchOptions,
  WatchProgress,
} from "./view/index.ts";

/**
 * Opens the store in a directory of this machine, or makes one there; `":memory:"` makes one that lives as long as the
 * process. One process at a time: `conflict`, naming the holder, for the second. `corrupt`, naming file and offset, when
 * the log is damaged; `denied` when the directory cannot be written.
 *
 * With `listen` this process is a member: others connect to the store, and with `peers` or `join`, or in a directory that
 * belongs to a cluster, it takes part in one. Closing the store hands the leadership over and ends the member.
 */
export async function open(
  directory: string,
  options: (OpenOptions | MemberOptions) & { readonly logger?: Logger } = {},
): Promise<Store> {
  const { logger, ...rest } = options;
  const inMemory = directory === ":memory:";
  const env = nodeEnv({ directory: inMemory ? "." : directory, ...(logger !== undefined && { logger }) });
  const wanted = { pipeline: new WorkerPipeline(), logs: [natsKind(env)], ...rest, ...(inMemory && { inMemory }) };
  if ("listen" in wanted) return memberStore(await startMember(env, wanted));
  const alone = Object.keys(wanted).find((name) => ["peers", "join", "replace", "advertise"].includes(name));
  if (alone !== undefined) {
    throw new HoldfastError("invalid", `${alone} is for a member; give listen as well, the addresses where it listens`);
  }
  return openStore(env, wanted);
}

/** The member's store, with the one difference that closing it closes the member. */
function memberStore(member: Member): Store {
  const close = () => member.close();
  const own = new Map<string | symbol, unknown>([
    ["failed", member.failed],
    ["close", close],
    [Symbol.asyncDispose, close],
  ]);
  return new Proxy<Store>(member.store, {
    get(store, name) {
      const value: unknown = own.get(name) ?? Reflect.get(store, name, store);
      return typeof value === "function" ? (value as (...all: unknown[]) => unknown).bind(store) : value;
    },
  });
}

/**
 * Connects to the members at these addresses (`host:port`, `tls:host:port`, `ws:host:port`; several separated by
 * commas). `timeout` or `unavailable` when none answers in time.
 */
export function connect(
  addresses: string,
  options: ConnectOptions & { readonly logger?: Logger } = {},
): Promise<Store> {
  const { logger, ...rest } = options;
  const env = nodeEnv({ directory: ".", ...(logger !== undefined && { logger }) });
  return connectStore(env, addresses, { pipeline: new WorkerPipeline(), ...rest });
}
