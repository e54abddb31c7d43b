/** `sim`: the doors to the world, simulated from one seed, with faults. */
export { WallClock, wallStartMs } from "./clock.ts";
export { PlainDigest } from "./digest.ts";
export { defaultDiskLatency, SimDisk } from "./disk.ts";
export type { DiskHook, DiskLatency, DiskOperation, DiskOperationKind } from "./disk.ts";
export type { UnsyncedFate } from "./file.ts";
export { crashEverywhere } from "./crash-campaign.ts";
export type { CrashCampaign, CrashCampaignResult, CrashPoint, CrashWorkload } from "./crash-campaign.ts";
export { Machine } from "./machine.ts";
export type { CrashMoment } from "./machine.ts";
export { MemoryFileSystem } from "./memory-file-system.ts";
export type { MemoryFileSystemOptions } from "./memory-file-system.ts";
export { SimNetwork } from "./network.ts";
export { defaultNetworkSettings } from "./network-settings.ts";
export type { NetworkSettings } from "./network-settings.ts";
export { Prng } from "./prng.ts";
export { SimulationError, Simulator } from "./simulator.ts";
export type { RunOptions, SimulatorOptions } from "./simulator.ts";
export { Trace } from "./trace.ts";
export {
  actions,
  Call,
  checkLinearizable,
  GaveUp,
  History,
  LeaseChecker,
  NotLinearizable,
  RaftChecker,
  RootChecker,
  SessionChecker,
  Violation,
  WatchChecker,
} from "./check/index.ts";
export type {
  Action,
  Cell,
  Change,
  CommandAnswer,
  CommandEffect,
  LeaseCheckerOptions,
  LinearizabilityAccount,
  LinearizabilityOptions,
  Operation,
  Outcome,
  Result,
  RootSighting,
  Span,
  WatchedKeys,
} from "./check/index.ts";
