/** `driver`: a store behind the interfaces of others. Each driver is an entry of the package: `holdfast/unstorage`, `holdfast/keyv`. */
export { HoldfastKeyv } from "./keyv.ts";
export type { KeyvOptions } from "./keyv.ts";
export { holdfastDriver } from "./unstorage.ts";
export type { UnstorageOptions } from "./unstorage.ts";
