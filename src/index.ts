/**
 * Holdfast: keys, and soon files and coordination, on one log; embedded in one process or served to many.
 *
 * `open` and `connect` give the same `Store`. The layers below have entries of their own: `holdfast/base`,
 * `holdfast/rpc`, `holdfast/log`, `holdfast/blob`, `holdfast/tree`, `holdfast/view`, `holdfast/host`, `holdfast/sim`.
 */
import { nodeEnv } from "./host/index.ts";
import { connectStore, openStore } from "./member/index.ts";
import type { ConnectOptions, OpenOptions, Store } from "./member/index.ts";
import type { Logger } from "./base/index.ts";

export { HoldfastError, limits } from "./base/index.ts";
export type { ErrorCode, Logger, Revision } from "./base/index.ts";
export type { ConnectOptions, OpenOptions, PastStore, Store, StoreStatus } from "./member/index.ts";
export type {
  Commit,
  CommitOutcome,
  Condition,
  DeleteOptions,
  DeleteOutcome,
  GrantOptions,
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
  PastKeys,
  PutOptions,
  ReadOptions,
  Step,
  StepOutcome,
  TransactionContext,
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
 */
export function open(directory: string, options: OpenOptions & { readonly logger?: Logger } = {}): Promise<Store> {
  const { logger, ...rest } = options;
  const inMemory = directory === ":memory:";
  const env = nodeEnv({ directory: inMemory ? "." : directory, ...(logger !== undefined && { logger }) });
  return openStore(env, { ...rest, ...(inMemory && { inMemory }) });
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
  return connectStore(nodeEnv({ directory: ".", ...(logger !== undefined && { logger }) }), addresses, rest);
}
