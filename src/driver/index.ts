/**
 * `driver`: a store behind the interfaces of others. Each is an entry of the package: `holdfast/unstorage`, `holdfast/keyv`,
 * and `holdfast/async-lock` for code that runs under locks.
 */
export { currentHold, lockedTransaction, withLock } from "./async-lock.ts";
export { HoldfastKeyv } from "./keyv.ts";
export type { KeyvOptions } from "./keyv.ts";
export { holdfastDriver } from "./unstorage.ts";
export type { UnstorageOptions } from "./unstorage.ts";
