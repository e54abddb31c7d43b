/**
 * What must hold of a store, judged from outside by what its clients and members were seen to do. Each checker stands by
 * itself, works in simulated and in real time, and throws a `Violation` that says what happened.
 */
export { Call, History } from "./history.ts";
export { LeaseChecker } from "./lease-checker.ts";
export type { LeaseCheckerOptions } from "./lease-checker.ts";
export { checkLinearizable } from "./linearizability.ts";
export type { LinearizabilityAccount, LinearizabilityOptions } from "./linearizability.ts";
export { GaveUp, NotLinearizable } from "./not-linearizable.ts";
export { actions, operationText } from "./operation.ts";
export type { Action, Cell, Operation, Outcome, Result, Span } from "./operation.ts";
export { RaftChecker } from "./raft-checker.ts";
export { RootChecker } from "./root-checker.ts";
export type { RootSighting } from "./root-checker.ts";
export { checkSerializable } from "./serializability.ts";
export type { SeenTransaction, Version } from "./serializability.ts";
export { SessionChecker } from "./session-checker.ts";
export type { CommandAnswer, CommandEffect } from "./session-checker.ts";
export { Violation } from "./violation.ts";
export { WatchChecker } from "./watch-checker.ts";
export type { Change, WatchedKeys } from "./watch-checker.ts";
